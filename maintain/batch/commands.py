"""`cookbook batch`."""

from pathlib import Path
from typing import Annotated, Any

import typer

Option = typer.Option


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def batch(
        plan: Annotated[Path, typer.Argument(help="a plan: targets, models, parameters, vary, repeat, sweep")],
        list_only: Annotated[bool, Option("--list", help="show the runs, start nothing")] = False,
        parallel: Annotated[
            int, Option(min=0, help="runs side by side; 0: as many as the GPUs allow, one at a time on a CPU")
        ] = 0,
        only: Annotated[list[int] | None, Option(help="only the run with this number; repeatable")] = None,
        slurm: Annotated[bool, Option("--slurm", help="print the plan as a Slurm job array, start nothing")] = False,
        ray: Annotated[bool, Option("--ray", help="print the plan as Ray jobs, start nothing")] = False,
    ) -> None:
        """Run a plan of targets x models x parameters; call it again to go on after an interruption."""
        from helpers.paths import shown
        from maintain.batch import load_plan, run_batch
        from maintain.batch.execute import table
        from maintain.batch.one import process
        from maintain.batch.ray_jobs import script as ray_script
        from maintain.batch.slots import here
        from maintain.batch.slurm import script

        _, runs, folder = load_plan(plan)
        if slurm or ray:
            typer.echo((script if slurm else ray_script)(plan, runs, folder), nl=False)
            return
        if list_only:
            for run in runs:
                typer.echo(f"{run.name}: {'skipped, ' + run.skip if run.skip else run.given}")
            return
        if faults := [number for number in only or [] if not 1 <= number <= len(runs)]:
            raise typer.BadParameter(f"--only {faults[0]}: the plan has runs 1 to {len(runs)}")
        slots = here(parallel)

        def one(run: Any, given: dict[str, Any], slot: Any) -> Any:
            side_by_side = {"port": 0} if slots.workers > 1 else {}  # one port cannot serve two
            return process(run.target, given | side_by_side, slot, run.sweep)

        try:
            results = run_batch(
                runs, folder, one, typer.echo, slots, only=[number - 1 for number in only] if only else None
            )
        except KeyboardInterrupt:
            typer.echo(f"cookbook: the batch was interrupted; call it again to go on ({shown(folder)})", err=True)
            raise typer.Exit(130) from None
        typer.echo("\n".join(["", *table(results), "", shown(folder)]))
        chosen = [results[number - 1] for number in only] if only else results
        failed = [result.name for result in chosen if result.state == "failed"]
        if failed:
            typer.echo(f"cookbook: {len(failed)} of {len(chosen)} runs failed: {', '.join(failed)}", err=True)
            raise typer.Exit(1)
