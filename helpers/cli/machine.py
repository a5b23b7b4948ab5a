"""`cookbook preflight`, `install` and `fetch`: the machine, its stacks, the weights."""

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command(
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        epilog="Parameters: -p NAME VALUE, as often as needed.",
    )
    def preflight(
        context: typer.Context,
        target: Annotated[str, typer.Argument(help="a target of recipes/targets")] = "cpu",
        network: Annotated[bool, typer.Option(help="also ask whether the model hub can be reached")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
    ) -> None:
        """Check GPU, driver, memory, disks, ports, tools, packages and leases: what was seen, needed, and the fix.

        Exit code 0: ready; 1: something needed is missing; 2: no such target or parameter.
        """
        from helpers.cli.runs import parameters
        from helpers.machine.preflight import check
        from helpers.recipes import check_parameters, load_target

        recipe = load_target(target)
        report = check(recipe, check_parameters(recipe, parameters(context.args)), network=network)
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False) if as_json else report.text())
        raise typer.Exit(report.exit_code)

    @app.command()
    def install(
        stack: str = typer.Argument(
            "cpu", help="cpu, cuda or evals: a lock in recipes/locks; rocm or xpu: recipes/stacks.yaml"
        ),
    ) -> None:
        """Install a serving stack (vLLM and everything under it) into .stacks/; a second call does nothing."""
        from helpers.machine.stack import ensure

        typer.echo(f"stack {stack}: {ensure(stack)}")

    @app.command()
    def fetch(
        model: Annotated[
            str, typer.Argument(help="gpt-oss-20b, gpt-oss-120b, gpt-oss-safeguard-20b, ...: a file of recipes/models")
        ],
        path: Annotated[str, typer.Option(help="check this folder instead of fetching")] = "",
    ) -> None:
        """Fetch a model's weights into the hub cache (only what vLLM needs), or check a folder of weights."""
        from pathlib import Path

        from helpers.machine.weights import check_checkpoint
        from helpers.machine.weights import fetch as fetch_weights
        from helpers.recipes import load_model

        about = load_model(model)
        folder = Path(path) if path else fetch_weights(about, report=typer.echo)
        facts = check_checkpoint(folder, about)
        typer.echo(f"{model}: {facts.folder} ({facts.shards} shards, {facts.bytes / 2**30:.2f} GiB)")
