"""`cookbook preflight`: is this machine ready, before anything is installed or started."""

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `preflight`."""

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
        from helpers.preflight import check
        from helpers.recipes import check_parameters, load_target

        recipe = load_target(target)
        report = check(recipe, check_parameters(recipe, parameters(context.args)), network=network)
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False) if as_json else report.text())
        raise typer.Exit(report.exit_code)
