"""`cookbook run`, `status` and `stop`."""

import sys
from typing import Annotated, Any

import typer

# Typer has no option that takes NAME VALUE several times, so `run` reads its own, spelled as papermill's.
OWN_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}
# Those of `helpers.recipes.Parameters`, whose import would cost every command a third of a second.
NAMES = (
    "model, weights, tensor_parallel_size, replicas, profile, activations, port, install, rehearse, concurrency, "
    "input_tokens, output_tokens, run_dir, keep_server, restart"
)


def parameters(words: list[str]) -> dict[str, Any]:
    """`-p NAME VALUE ...` as a mapping; values are read as YAML, as papermill does.

    >>> parameters(["-p", "port", "0", "--parameter", "concurrency", "[1, 4]"])
    {'port': 0, 'concurrency': [1, 4]}
    """
    import yaml

    from helpers.errors import UsageError

    given: dict[str, Any] = {}
    rest = list(words)
    while rest:
        flag = rest.pop(0)
        if flag not in ("-p", "--parameter") or len(rest) < 2:
            raise UsageError(f"{flag!r} was not understood", do="pass parameters as -p NAME VALUE")
        name, value = rest.pop(0), rest.pop(0)
        try:
            given[name] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):  # ValueError: a date that no calendar has
            raise UsageError(
                f"the value of {name} cannot be read: {value!r}",
                why="it is no whole YAML value",
                do="quote what has spaces or brackets, as in -p concurrency '[1, 16]'",
            ) from None
    return given


def register(app: typer.Typer) -> None:
    @app.command(
        context_settings=OWN_OPTIONS, epilog=f"Parameters: -p NAME VALUE, as often as needed; NAME is one of {NAMES}."
    )
    def run(context: typer.Context, target: Annotated[str, typer.Argument(help="a target of recipes/targets")]) -> None:
        """Run a target's notebook from cold to stopped, with papermill, into a folder of its own."""
        from helpers.paths import shown
        from helpers.runs.execute import run_target

        outcome = run_target(target, parameters(context.args), progress=sys.stderr.isatty())
        typer.echo(summary(outcome))
        typer.echo(f"\n{shown(outcome.folder)}  {outcome.record.state}")
        if not outcome.passed:
            why, notebook = outcome.record.why, shown(outcome.folder / "notebook.ipynb")
            typer.echo(f"cookbook: the run failed because {why}; open {notebook}", err=True)
            raise typer.Exit(1)

    @app.command()
    def status() -> None:
        """List the servers that the cookbook started, and end what a killed supervisor left behind."""
        from helpers.runs.status import status_table
        from helpers.server import reap

        for lease in reap():
            typer.echo(f"ended: {lease.model} on port {lease.port}, its supervisor was gone")
        typer.echo(status_table())

    @app.command()
    def stop(port: Annotated[int | None, typer.Option(help="only the server on this port")] = None) -> None:
        """Stop the servers that the cookbook started, and nothing else."""
        from helpers.errors import UsageError
        from helpers.server import leases
        from helpers.server import stop as stop_server

        found = [lease for lease in leases() if port in (None, lease.port)]
        if port is not None and not found:
            raise UsageError(f"the cookbook serves nothing on port {port}", do="see `cookbook status`")
        for lease in found:
            typer.echo(f"{lease.model}: {stop_server(lease)}")
        if not found:
            typer.echo("nothing to stop")


def summary(outcome) -> str:
    """The tables that end a run: contracts by group, points, times; what it did not reach is left out, why it failed told."""
    from rich.console import Console
    from rich.table import Table

    record = outcome.record
    console = Console(width=100)
    with console.capture() as capture:
        groups: dict[str, list[str]] = {}
        for contract in record.contracts:
            groups.setdefault(contract.group, []).append(contract.state)
        version = f" · vLLM {record.versions['vllm']}" if "vllm" in record.versions else ""
        console.print(f"{record.target} · {record.model} · weights {record.weights}{version}")
        table = Table()
        table.add_column("contracts")
        table.add_column("passed", justify="right")
        for group, states in groups.items():
            skipped = states.count("skipped")
            counted = f"{states.count('passed')}/{len(states) - skipped}" if skipped < len(states) else "skipped"
            table.add_row(group, counted)
        if groups:
            console.print(table)
        if record.throughput:
            table = Table()
            for name in ("concurrency", "output tok/s", "TTFT p50 (ms)", "TPOT p50 (ms)"):
                table.add_column(name, justify="right")
            for point in record.throughput:
                table.add_row(
                    str(point.concurrency),
                    f"{point.output_tok_s:,.1f}",
                    f"{point.ttft_ms.p50:,.1f}",
                    f"{point.tpot_ms.p50:,.2f}",
                )
            console.print(table)
        startup, peak = record.startup_s.get("total"), record.memory.get("peak_gib")
        times = [
            f"start-up {startup:.0f} s" if startup else "",
            f"whole run {(record.finished - record.started).total_seconds():.0f} s",
            f"peak memory {peak:.1f} GiB" if peak else "",
        ]
        console.print(" · ".join(filter(None, times)))
        if record.why:
            console.print(f"failed: {record.why}", markup=False, soft_wrap=True)
    return capture.get().rstrip()
