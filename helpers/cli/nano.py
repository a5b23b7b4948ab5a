"""`cookbook nano`: build gpt-oss-nano and measure what it can do."""

import importlib
from pathlib import Path

import typer

from helpers.errors import CookbookError
from helpers.paths import ROOT

FACTORY = "nano.commands"  # only a checkout has the factory of the test model


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="gpt-oss-nano: build it, measure it.", no_args_is_help=True)
    app.add_typer(group, name="nano")

    @group.command()
    def build(
        out: Path = typer.Argument(help="folder to write"),
        form: str = typer.Option("bf16", help="bf16, or mxfp4 for machines with AMX or a GPU"),
    ) -> None:
        """Write the checkpoint folder that vLLM and transformers load."""
        import subprocess

        from helpers.machine.stack import ensure

        done = subprocess.run(
            [str(ensure("cpu")), "-m", "helpers.instack.nano.build", "--out", str(out.resolve()), "--form", form],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise CookbookError("the checkpoint was not written", why=done.stderr.strip().splitlines()[-1])
        typer.echo(f"written: {out}")

    if (ROOT / FACTORY.replace(".", "/")).with_suffix(".py").is_file():
        importlib.import_module(FACTORY).register(group)
