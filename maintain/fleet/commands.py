"""`cookbook serve`."""

from typing import Annotated, Any

import typer

OWN_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}
POLICIES = "round_robin, cache_aware, power_of_two, consistent_hash, random"


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command(context_settings=OWN_OPTIONS, epilog="Parameters: -p NAME VALUE, those of `cookbook run`.")
    def serve(
        context: typer.Context,
        target: Annotated[str, typer.Argument(help="a target of recipes/targets")],
        replicas: Annotated[
            int, typer.Option(help="copies of the server, behind a router where there are several", min=1)
        ] = 1,
        policy: Annotated[str, typer.Option(help=f"how the router chooses: {POLICIES}")] = "cache_aware",
        roll: Annotated[
            bool, typer.Option("--roll", help="restart the replicas that run, one by one, without losing a request")
        ] = False,
        middleware: Annotated[
            bool,
            typer.Option("--middleware", help="refuse what would end the server, and help clients (docs/requests.md)"),
        ] = False,
    ) -> None:
        """Start a target's server or replicas, which stay until `cookbook stop`; a key in VLLM_API_KEY guards them."""
        from helpers.cli.runs import parameters
        from helpers.errors import UsageError
        from helpers.server.replicas import Replicas
        from maintain.fleet import serve as fleet

        if policy not in POLICIES.split(", "):
            raise UsageError(f"unknown policy {policy!r}", do=f"choose one of {POLICIES}")
        given: dict[str, Any] = {"replicas": replicas, **parameters(context.args)}
        if roll:
            server: Any = fleet.restart(target, given, typer.echo, middleware)
        else:
            server = fleet.serve(target, given, policy, typer.echo, middleware)
        typer.echo(f"{server.model}: {server.base_url}/v1, until `cookbook stop`")
        if isinstance(server, Replicas):
            words = server.lease.argv
            typer.echo(f"router: metrics at http://127.0.0.1:{words[words.index('--prometheus-port') + 1]}/metrics")
