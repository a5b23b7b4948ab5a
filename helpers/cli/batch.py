"""`cookbook batch`: many runs from one plan."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def batch(
        plan: Annotated[Path, typer.Argument(help="a plan: targets, models, parameters, vary")],
        list_only: Annotated[bool, typer.Option("--list", help="show the runs, start nothing")] = False,
    ) -> None:
        """Run a plan of targets x models x parameters; call it again to go on after an interruption."""
        from helpers.batch import load_plan, run_batch
        from helpers.batch.execute import table
        from helpers.paths import shown
        from helpers.runs.execute import run_target

        _, runs, folder = load_plan(plan)
        if list_only:
            for run in runs:
                typer.echo(f"{run.name}: {'skipped, ' + run.skip if run.skip else run.given}")
            return
        try:
            results = run_batch(
                runs,
                folder,
                lambda target, given: run_target(target, given, progress=sys.stderr.isatty()),
                report=typer.echo,
            )
        except KeyboardInterrupt:
            typer.echo(
                f"cookbook: the batch was interrupted; call it again to go on ({shown(folder)})", err=True
            )
            raise typer.Exit(130) from None
        typer.echo("\n".join(["", *table(results), "", shown(folder)]))
        failed = [result.name for result in results if result.state == "failed"]
        if failed:
            typer.echo(
                f"cookbook: {len(failed)} of {len(results)} runs failed: {', '.join(failed)}", err=True
            )
            raise typer.Exit(1)
