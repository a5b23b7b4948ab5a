"""`cookbook bundle` and `unbundle`: a target for a host without a network."""

from pathlib import Path
from typing import Annotated

import typer

Option = typer.Option


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def bundle(
        target: Annotated[str, typer.Argument(help="whose stack and recipe")],
        out: Annotated[Path, Option(help="the folder of the parts")] = Path("bundle"),
        arch: Annotated[str, Option(help="leave out what other GPUs would run, e.g. sm_90")] = "",
        weights: Annotated[Path | None, Option(help="the folder of a checkpoint, packed too")] = None,
        part_mb: Annotated[int, Option(help="the size of a part, in 10^6 bytes")] = 1900,
    ) -> None:
        """Pack workbench, stack, test model and recipes in parts, for a host that has Python and no network."""
        from helpers.paths import shown
        from maintain.delivery.pack import bundle as pack

        manifest = pack(target, out, arch, weights, part_mb, report=typer.echo)
        size = sum(part["bytes"] for part in manifest["parts"]) / 1e6
        typer.echo(f"{shown(out)}: {len(manifest['parts'])} parts, {size:,.0f} MB; there: python3 unbundle.py FOLDER")

    @app.command()
    def unbundle(
        folder: Annotated[Path, typer.Argument(help="a new folder, the checkout to be")],
        parts: Annotated[Path, Option(help="where the parts lie")] = Path("bundle"),
    ) -> None:
        """Unpack a bundle. On a host without the cookbook, run the script that lies beside the parts instead."""
        from helpers.errors import CookbookError
        from maintain.delivery import unbundle as script

        try:
            script.unbundle(parts, folder, typer.echo)
        except script.BundleError as error:
            raise CookbookError(str(error)) from None
