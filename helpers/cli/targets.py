"""`cookbook targets`, `command`, `check`, `check-install`, `new-target`: the recipes at the command line."""

from typing import Annotated

import typer

Option = typer.Option


def register(app: typer.Typer) -> None:
    @app.command()
    def command(
        target: Annotated[str, typer.Argument(help="a target of recipes/targets")],
        model: Annotated[
            str, Option(help="one that the target offers, e.g. gpt-oss-120b; the recipe's default otherwise")
        ] = "",
        weights: Annotated[
            str,
            Option(help="hub, a folder, or what `cookbook run` wrote: nano, synthetic; the recipe's default otherwise"),
        ] = "",
        tensor_parallel_size: Annotated[int, Option(help="0: the recipe's default")] = 0,
        replicas: Annotated[
            int, Option(help="servers side by side, on ports from --port, and a router behind them")
        ] = 1,
        profile: Annotated[
            str, Option(help="latency, throughput, evals where there is one; else the recipe's default")
        ] = "",
        activations: Annotated[str, Option(help="MoE activations on Blackwell: bf16 or mxfp8")] = "bf16",
        port: Annotated[int, Option(help="port on loopback")] = 8000,
        format: Annotated[str, Option(help="shell, docker, compose, k8s or config")] = "shell",
        reasons: Annotated[bool, Option("--reasons", help="why each flag is there, and its source")] = False,
    ) -> None:
        """Print the command that serves a model on a target, ready to paste or apply."""
        from helpers.errors import UsageError
        from helpers.paths import CACHE
        from helpers.recipes import check_parameters, load_model, load_target
        from helpers.recipes.command import serve_command
        from helpers.recipes.command.forms import FORMS, render
        from helpers.server.serving import Serving
        from helpers.server.weights import named_weights

        if format not in FORMS:
            raise UsageError(f"unknown format {format!r}", do=f"choose one of {', '.join(FORMS)}")
        recipe = load_target(target)
        values = {"model": model, "weights": weights, "profile": profile}
        values = {name: value for name, value in values.items() if value}
        values |= {"tensor_parallel_size": tensor_parallel_size, "replicas": replicas}
        parameters = check_parameters(recipe, values | {"activations": activations, "port": port})
        about = load_model(parameters.model)
        served = named_weights(Serving(recipe, parameters, about), CACHE / "models")
        rendered = serve_command(recipe, about, parameters, served, parameters.port)
        typer.echo(render(format, recipe, about, parameters, rendered), nl=False)
        if reasons:
            for flag, setting in (rendered.settings.args | rendered.settings.env).items():
                typer.echo(f"# {flag}: {setting.why} [{setting.source}]")

    @app.command()
    def targets(
        target: Annotated[str, typer.Argument(help="one target with its limits; all by default")] = "",
        every: Annotated[bool, Option("--all", help="every tensor-parallel size and profile")] = False,
    ) -> None:
        """Show what each target offers and what was verified on it, from the run records."""
        from helpers.cli._matrix import console_matrix, target_sheet

        typer.echo(target_sheet(target) if target else console_matrix(every))

    @app.command()
    def check(
        vllm: Annotated[list[str] | None, Option(help="another release, e.g. 0.33.0; repeatable")] = None,
        target: Annotated[list[str] | None, Option(help="only these targets; repeatable")] = None,
        limits: Annotated[
            bool, Option("--limits", help="instead, ask the installed vLLM which known limits it still has")
        ] = False,
    ) -> None:
        """Put every recipe's command before vLLM's own parser, or before the sources of other releases."""
        from helpers.cli._matrix import release_table
        from helpers.machine.stack import interpreter
        from helpers.pages.maintain.releases import check_release
        from helpers.recipes import load_target
        from helpers.recipes.command.combinations import combinations
        from helpers.recipes.command.parser import check_recipes

        for name in target or []:
            load_target(name)  # an unknown name is one clear line
        if limits:
            from helpers.pages.maintain.limits import probed
            from helpers.recipes import target_names

            for found in probed(target or target_names(), interpreter):
                typer.echo(found.line())
            return
        chosen = list(combinations(target))
        if vllm:
            python = interpreter("cpu")
            reports = [check_release(version, chosen, typer.echo, python) for version in vllm]
            typer.echo(release_table(reports))
            faults = [fault for report in reports for fault in report.faults]
        else:
            report = check_recipes(interpreter("cpu"), chosen)
            typer.echo(f"vLLM {report.vllm} ({report.platform}) parsed {report.commands} commands")
            for line in report.not_checked:
                typer.echo(f"not checked: {line}")
            faults = report.faults
            for fault in faults:
                typer.echo(f"✗ {fault.line()}")
        if faults:
            typer.echo(f"cookbook: {len(faults)} flags or variables are not taken", err=True)
            raise typer.Exit(1)

    @app.command(name="check-install")
    def check_install(
        stack: Annotated[str, typer.Argument(help="the stack to prove: cuda")] = "cuda",
        keep: Annotated[bool, Option("--keep", help="use the stack as it is instead of installing anew")] = False,
    ) -> None:
        """Install a GPU stack's lock for real (several GB) and put its recipes before that build's parser."""
        from helpers.pages.maintain.install import check_install

        record = check_install(stack, fresh=not keep, report=typer.echo)
        typer.echo(
            f"{record.stack}: {record.packages} packages, {record.disk_gib} GiB, installed in {record.install_s:.0f} s; "
            f"vLLM {record.versions['vllm']} on {record.parser_platform} parsed {record.commands} commands of "
            f"{len(record.targets)} targets: {record.state}"
        )
        for line in [*record.missing, *record.faults]:
            typer.echo(f"✗ {line}", err=True)
        if record.state != "passed":
            raise typer.Exit(1)

    @app.command(name="new-target")
    def new_target(
        name: Annotated[str, typer.Argument(help="small letters, digits and _")],
        like: Annotated[str, Option(help="the target it resembles most")] = "h200",
        remove: Annotated[bool, Option("--remove", help="take its recipe, notebook and test away again")] = False,
    ) -> None:
        """Scaffold a target: its recipe, its notebook and its test."""
        from helpers.pages.maintain.scaffold import new_target as scaffold
        from helpers.pages.maintain.scaffold import remove_target
        from helpers.paths import shown

        for path in remove_target(name) if remove else scaffold(name, like):
            done = "written" if not remove else "rows removed" if path.exists() else "removed"
            typer.echo(f"{done}: {shown(path)}")
        if not remove:
            typer.echo("next: replace every TODO, then follow CONTRIBUTING.md")
