"""`cookbook tools`: the python and browser tool servers by hand."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `tools serve`, `tools list` and `tools doctor`."""
    tools = typer.Typer(help="The python and browser tools: serve, list, examine.", no_args_is_help=True)
    app.add_typer(tools, name="tools")

    @tools.command()
    def serve(
        sandbox: Annotated[str, typer.Option(help="auto, bubblewrap, wasm or dangerously-unsandboxed")] = "auto",
        backend: Annotated[str, typer.Option(help="auto (the local corpus), exa or youcom")] = "auto",
        corpus: Annotated[Path | None, typer.Option(help="a folder of pages in place of the cookbook's own")] = None,
        data: Annotated[Path | None, typer.Option(help="a folder that the model's programs may read, at /data")] = None,
        packages: Annotated[Path | None, typer.Option(help="a folder of packages that they may import")] = None,
        seconds: Annotated[float, typer.Option(min=0.1, help="for one program")] = 120.0,
        host: Annotated[str, typer.Option(help="address to listen on; a container's own may be 0.0.0.0")] = "127.0.0.1",
        allow_host: Annotated[
            list[str] | None, typer.Option(help="a name by which a vLLM in a container reaches them, repeatable")
        ] = None,
        keep: Annotated[bool, typer.Option(help="leave them running; `cookbook stop` ends them")] = False,
    ) -> None:
        """Start both tool servers and say what `vllm serve --tool-server` takes; Ctrl-C stops them."""
        from helpers.errors import UsageError
        from helpers.tools import start

        for folder in (corpus, data, packages):
            if folder is not None and not folder.is_dir():
                raise UsageError(f"{folder} is no folder", do="name one that exists")
        started = start(
            sandbox=sandbox,
            backend=backend,
            corpus=corpus,
            data=data,
            packages=packages,
            seconds=seconds,
            host=host,
            allow_hosts=allow_host or [],
            kept=keep,
            report=typer.echo,
        )
        typer.echo(f"--tool-server {started.argument}")
        if not keep:
            _wait(started)

    @tools.command(name="list")
    def listing(
        argument: Annotated[
            str, typer.Argument(metavar="ADDRESSES", help="HOST:PORT,HOST:PORT (default: those that run here)")
        ] = "",
    ) -> None:
        """Shake hands with tool servers as vLLM does and list what they offer."""
        from helpers.server import leases
        from helpers.tools.servers import check, places_of

        if not argument:
            argument = ",".join(
                f"127.0.0.1:{lease.port}" for lease in leases() if lease.target == "tools" and lease.running()
            )
        if not argument:
            typer.echo("no tool server runs here; `cookbook tools serve` starts them")
            return
        for place in places_of(argument):
            for name, offered in check(place).items():
                typer.echo(f"{place}  {name}: {', '.join(offered)}")

    @tools.command()
    def doctor() -> None:
        """Which sandboxes and backends work on this machine, and what the others lack.

        Exit code 1 where no sandbox works.
        """
        import os

        from helpers.tools.browser.backends import Exa, YouCom
        from helpers.tools.sandbox import rungs

        working = 0
        for name, kind in rungs().items():
            rung = kind()
            why = rung.why_not()
            working += not why
            typer.echo(f"{'✗' if why else '✓'} sandbox {name}: {why or rung.describe()}")
        typer.echo("✓ browser corpus: the cookbook's own pages")
        for service in (Exa, YouCom):
            has, key = bool(os.environ.get(service.key_name)), service.key_name
            typer.echo(f"{'✓' if has else '✗'} browser {service.name}: {key} is {'set' if has else 'not set'}")
        raise typer.Exit(0 if working else 1)


def _wait(started) -> None:
    """Hold the servers until Ctrl-C or SIGTERM; report one that ends by itself."""
    import signal
    import threading

    from helpers.errors import CookbookError

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        while not stop.wait(1.0):
            for name, server in started.servers.items():
                if not server.running():
                    raise CookbookError(f"the {name} tool server ended", do=f"see {server.log}")
    finally:
        for line in started.stop():
            typer.echo(line)
