"""`cookbook deploy`: files for several machines and for what watches them, from the same recipe as a server's command."""

from pathlib import Path
from typing import Annotated

import typer

Option = typer.Option
FORMS = ("prometheus", "server", "disaggregated", "nodes", "ray", "kubernetes", "helm", "dynamo", "skypilot", "slurm")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def deploy(
        form: Annotated[str, typer.Argument(help=", ".join(FORMS))],
        target: Annotated[str, typer.Argument(help="a target of recipes/targets (not with prometheus)")] = "",
        model: Annotated[str, Option(help="one that the target offers; the recipe's default otherwise")] = "",
        weights: Annotated[str, Option(help="hub, or a folder; the recipe's default otherwise")] = "",
        size: Annotated[
            int, Option(min=0, help="devices of one server, on all its nodes; 0: the recipe's, on each")
        ] = 0,
        profile: Annotated[str, Option(help="latency, throughput, ...; else the recipe's default")] = "",
        nodes: Annotated[int, Option(min=1, help="hosts of one server")] = 1,
        replicas: Annotated[int, Option(min=1, help="copies of the server, the fewest")] = 1,
        most: Annotated[int, Option(min=0, help="kubernetes, skypilot: copies under load, the most")] = 0,
        with_: Annotated[
            list[str] | None, Option("--with", help="a fragment laid over the recipe: docs/fragments.md; repeatable")
        ] = None,
        host_gib: Annotated[int, Option(min=1, help="kv-offload: GiB of host memory for each device")] = 100,
        tools: Annotated[bool, Option("--tools", help="kubernetes: the tool servers beside vLLM")] = False,
        sidecars: Annotated[
            bool, Option("--sidecars", help="kubernetes: the tool servers in the pod of each copy")
        ] = False,
        port: Annotated[int, Option(min=1024, max=65535, help="the server's port")] = 8000,
        address: Annotated[list[str] | None, Option(help="nodes, ray: each host's address, the head first")] = None,
        interface: Annotated[str, Option(help="nodes, ray: what connects the hosts, e.g. eth0")] = "",
        server: Annotated[list[str] | None, Option(help="prometheus: HOST:PORT to scrape; repeatable")] = None,
        out: Annotated[Path | None, Option(help="write the files into this folder instead of printing them")] = None,
    ) -> None:
        """Print or write the files that run a target on several machines, or that watch its servers."""
        from helpers.errors import UsageError
        from helpers.files import write_whole
        from helpers.paths import shown
        from maintain.deploy import observe
        from maintain.deploy.forms import Asked, rendered

        if form not in FORMS:
            raise UsageError(f"unknown form {form!r}", do=f"choose one of {', '.join(FORMS)}")
        if form == "prometheus":
            texts = observe.files(server or [f"127.0.0.1:{port}"])
        elif not target:
            raise UsageError(f"the form {form} needs a target", do="name one of `cookbook targets`")
        else:
            given = {"model": model, "weights": weights, "profile": profile, "port": port, "replicas": replicas}
            hosts, parts = tuple(address or ()), tuple(with_ or ())
            asked = Asked(size, len(hosts) or nodes, most, parts, host_gib, tools, sidecars, hosts, interface)
            texts = rendered(form, target, given, asked)
        for name, text in texts.items():
            if out is None:
                typer.echo(f"# ---- {name}\n{text}" if not name.endswith(".py") else f"# ---- {name}: with --out\n")
            else:
                mode = 0o755 if text.startswith("#!") else None
                typer.echo(f"wrote {shown(write_whole(out / name, text, mode=mode))}")
