"""`cookbook import`, `upgrade`, `reproduce`: others' runs filed, another release tried, a run repeated."""

from pathlib import Path
from typing import Annotated

import typer

Option = typer.Option


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command(name="import")
    def import_(file: Annotated[Path, typer.Argument(help="what `cookbook publish --bundle` wrote")]) -> None:
        """Check a run that somebody else measured, and file it under its contributor. Nothing of it is executed."""
        from helpers.paths import shown
        from maintain.pages.overview import refresh
        from maintain.proof import incoming

        judgement, written = incoming.file(file)
        typer.echo(judgement.text())
        judgement.raise_if_failed()
        for path in [*written, *refresh()]:
            typer.echo(f"written: {shown(path)}")

    @app.command()
    def upgrade(
        vllm: Annotated[str, Option(help="the release to try, e.g. 0.33.0, or newest")],
        stack: Annotated[list[str] | None, Option(help="cpu or cuda; repeatable, both by default")] = None,
        lane: Annotated[bool, Option("--lane", help="also run the CPU notebook on it, from cold to stopped")] = False,
        write: Annotated[bool, Option("--write", help="bring lock and pins into this checkout if all is well")] = False,
    ) -> None:
        """Try another vLLM in a copy of the checkout: lock, installation, parser, flags, known limits; a report as a page."""
        from helpers.paths import shown
        from maintain.upgrade.trial import STACKS, newest, pin_of
        from maintain.upgrade.trial import upgrade as try_release

        failed = []
        for name in stack or STACKS:
            version = newest(name) if vllm == "newest" else vllm
            if vllm == "newest" and version == pin_of(name):
                typer.echo(f"{name}: its pin {version} is the newest release")
                continue
            found, page = try_release(name, version, lane, write, typer.echo)
            typer.echo(f"{name}: {'passed' if found.passed else 'failed'}; {shown(page)}")
            failed += [] if found.passed else [name]
        if failed:
            raise typer.Exit(1)

    @app.command()
    def reproduce(record: Annotated[Path, typer.Argument(help="a run record, e.g. of recipes/records/cpu")]) -> None:
        """Run a record's command again, and say whether the two agree within the noise."""
        from helpers.paths import shown
        from maintain.proof.reproduce import again

        agreement, outcome = again(record)
        typer.echo(agreement.text())
        typer.echo(shown(outcome.folder))
        if not agreement.passed:
            raise typer.Exit(1)
