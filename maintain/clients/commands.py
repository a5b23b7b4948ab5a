"""`cookbook connect`: the configuration that points a client at a running server, and what it will trip over."""

from pathlib import Path
from typing import Annotated

import typer

PASTED = "http://127.0.0.1:8000"  # where the commands that `cookbook command` prints listen


def register(app: typer.Typer) -> None:
    """Add `connect`."""

    @app.command()
    def connect(
        client: Annotated[str, typer.Argument(help="codex, opencode, ... (none: the list)")] = "",
        base_url: Annotated[
            str, typer.Option(help="the server's address (default: the one that runs here, else port 8000)")
        ] = "",
        write: Annotated[Path | None, typer.Option(help="write the files below this folder, the client's home")] = None,
        check: Annotated[bool, typer.Option("--check", help="send the client's own kinds of requests")] = False,
    ) -> None:
        """Print or write a client's configuration for a running server.

        With --check, exit code 1 where it would trip.
        """
        import httpx

        from helpers.errors import UsageError
        from helpers.files import write_whole
        from helpers.findings import Findings
        from helpers.keys import authorised, keyless
        from maintain.clients import catalogue as clients

        if not client:
            for name, program in clients.programs().items():
                typer.echo(f"{name:15} {program.title}, {program.api} ({program.package})")
            return
        program = clients.program(client)
        address = keyless(base_url or _running()).rstrip("/").removesuffix("/v1")
        with httpx.Client(base_url=address, headers=authorised(), timeout=120) as web:
            model, context = clients.served(web)
            found = clients.findings(clients.needs(client), web, model, program, context) if check else []
        for place, text in program.files.items():
            whole = program.filled(text, address, model, context)
            if write is None:
                typer.echo(f"# ~/{place}\n{whole}")
            elif (write / place).exists() and (write / place).read_text() != whole:
                raise UsageError(
                    f"{write / place} is there and says something else", do="move it away, or merge by hand"
                )
            else:
                typer.echo(f"wrote {write_whole(write / place, whole)}")
        for name, value in program.env.items():
            typer.echo(f"export {name}={program.filled(value, address, model, context)}")
        told = {"install": program.install, "run": program.run, "needs": program.needs, "limits": program.limits}
        for name, line in told.items():
            typer.echo(f"# {name}: {program.filled(line, address, model, context)}" if line else "", nl=bool(line))
        if check:
            typer.echo(Findings(found).text())
            raise typer.Exit(Findings(found).exit_code)


def _running() -> str:
    """The address of the server that runs here, else that of a pasted command; `UsageError` where there is more than one."""
    from helpers.errors import UsageError
    from helpers.server import leases

    found = [lease.base_url for lease in leases() if lease.target != "tools" and lease.running()]
    if len(found) > 1:
        raise UsageError(f"{len(found)} servers run here", do="name one with --base-url http://HOST:PORT")
    return found[0] if found else PASTED
