"""`cookbook targets` and `command`: the recipes at the command line, and what maintains them where this is a checkout."""

import importlib
from typing import Annotated, Any

import typer

from helpers.paths import ROOT

Option = typer.Option
MAINTENANCE = "maintain.commands"  # `cookbook check`, `render`, `publish` and others: only a checkout has them


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
            str, Option(help="one of the target's: `cookbook targets TARGET` lists them; else the recipe's default")
        ] = "",
        activations: Annotated[str, Option(help="MoE activations on Blackwell: bf16 or mxfp8")] = "bf16",
        port: Annotated[int, Option(help="port on loopback")] = 8000,
        format: Annotated[str, Option(help="shell, docker, compose, k8s or config")] = "shell",
        tools: Annotated[
            bool,
            Option(
                "--tools", help="with compose and k8s: the tool servers beside vLLM (their image was never built here)"
            ),
        ] = False,
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
        given = {"model": model, "weights": weights, "profile": profile}
        values: dict[str, Any] = {name: value for name, value in given.items() if value}
        values |= {"tensor_parallel_size": tensor_parallel_size, "replicas": replicas}
        parameters = check_parameters(recipe, values | {"activations": activations, "port": port})
        about = load_model(parameters.model)
        serving = Serving(recipe, parameters, about)
        served = named_weights(serving, CACHE / "models")
        rendered = serve_command(recipe, about, parameters, served, parameters.port)
        if risk := recipe.serve.profiles[parameters.profile].risk:
            typer.echo(f"# risk of {parameters.profile}: {risk}", err=True)  # what you paste stays as it is
        if note := serving.draft_note():
            typer.echo(f"# {parameters.model}{note}", err=True)
        typer.echo(render(format, recipe, about, parameters, rendered, tools), nl=False)
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

    if (ROOT / MAINTENANCE.replace(".", "/")).with_suffix(".py").is_file():
        importlib.import_module(MAINTENANCE).register(app)
