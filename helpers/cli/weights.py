"""`cookbook fetch`: weights from the hub, or the check of a folder."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def fetch(
        model: Annotated[str, typer.Argument(help="gpt-oss-20b or gpt-oss-120b")],
        path: Annotated[str, typer.Option(help="check this folder instead of fetching")] = "",
    ) -> None:
        """Fetch a model's weights into the hub cache (only what vLLM needs), or check a folder of weights."""
        from pathlib import Path

        from helpers.recipes import load_model
        from helpers.weights import check_checkpoint
        from helpers.weights import fetch as fetch_weights

        about = load_model(model)
        folder = Path(path) if path else fetch_weights(about, report=typer.echo)
        facts = check_checkpoint(folder, about)
        typer.echo(f"{model}: {facts.folder} ({facts.shards} shards, {facts.bytes / 2**30:.2f} GiB)")
