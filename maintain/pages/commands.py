"""`cookbook render` and `cookbook publish`: the notebooks in the repository."""

from pathlib import Path
from typing import Annotated

import typer

from helpers.paths import RUNS


def register(app: typer.Typer) -> None:
    @app.command()
    def render(
        targets: Annotated[list[str] | None, typer.Argument(help="targets; all of them if none is named")] = None,
        check: Annotated[bool, typer.Option("--check", help="write nothing; fail if a notebook has drifted")] = False,
    ) -> None:
        """Write the target notebooks from the template and the recipes, keeping outputs of unchanged cells."""
        from helpers.errors import CookbookError
        from helpers.progress import bar
        from helpers.recipes import target_names
        from maintain.pages.notebook import path_of, text_of, write
        from maintain.pages.notebook import render as rendered
        from maintain.pages.overview import drifted as overview
        from maintain.pages.overview import refresh

        drifted = []
        for name in bar("targets", unit=" pages", iterable=targets or target_names()):
            notebook, path = rendered(name), path_of(name)
            if not path.exists() or path.read_text() != text_of(notebook):
                drifted.append(name)
                if not check:
                    write(notebook, path)
        drifted += [path.name for path in ([page for page, _ in overview()] if check else refresh())]
        if check and drifted:
            raise CookbookError(f"drifted from template and recipe: {', '.join(drifted)}", do="run `cookbook render`")
        typer.echo(f"{'drifted' if check else 'written'}: {', '.join(drifted) or 'none'}")

    @app.command()
    def publish(
        folder: Annotated[Path, typer.Argument(help="a run folder", show_default="runs/latest")] = RUNS / "latest",
        bundle: Annotated[
            Path | None, typer.Option(help="instead, pack the run into this file, for `cookbook import` elsewhere")
        ] = None,
        contributor: Annotated[str, typer.Option(help="with --bundle: your name on the forge")] = "",
        image_digest: Annotated[str, typer.Option(help="with --bundle: sha256:... of the container it ran in")] = "",
    ) -> None:
        """Keep a passed run in the repository: the executed notebook and its record. Or pack it for others."""
        from helpers.errors import UsageError
        from helpers.paths import shown

        if not (folder / "record.json").is_file():
            raise UsageError(
                f"{shown(folder)} is not a run's folder",
                why="it has no record.json",
                do="name a folder under runs/ (`cookbook run TARGET` makes one)",
            )
        if bundle:
            from maintain.sharing.bundle import pack

            typer.echo(shown(pack(folder.resolve(), bundle, contributor, image_digest)))
            return
        from maintain.pages.publish import (
            publish as keep,  # after the check: it imports jupytext, which asks for pandoc
        )

        for path in keep(folder.resolve()):
            typer.echo(shown(path))
