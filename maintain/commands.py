"""`cookbook check`, `connect`, `new-target`, `render`, `publish` and others: what only a checkout has."""

from typing import Annotated

import typer
from rich.table import Table

from helpers.cli._matrix import table_text
from maintain.batch import commands as batch
from maintain.clients import commands as clients
from maintain.delivery import commands as delivery
from maintain.deploy import commands as deploy
from maintain.fleet import commands as fleet
from maintain.pages import commands as pages
from maintain.proof import commands as proof
from maintain.sizing import commands as sizing

Option = typer.Option


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for part in (pages, sizing, clients, proof, delivery, deploy, fleet, batch):
        part.register(app)
    app.command()(check)
    app.command()(stale)
    app.command(name="check-install")(check_install)
    app.command(name="new-target")(new_target)


def check(
    vllm: Annotated[list[str] | None, Option(help="another release, e.g. 0.33.0; repeatable")] = None,
    target: Annotated[list[str] | None, Option(help="only these targets; repeatable")] = None,
    limits: Annotated[
        bool, Option("--limits", help="instead, ask the installed vLLM which known limits it still has")
    ] = False,
) -> None:
    """Put every recipe's command before vLLM's own parser, or before the sources of other releases."""
    from helpers.machine.stack import interpreter
    from helpers.recipes import load_target
    from maintain.combinations import combinations
    from maintain.parser import check_recipes
    from maintain.releases import check_release

    for name in target or []:
        load_target(name)  # an unknown name is one clear line
    if limits:
        from helpers.recipes import target_names
        from maintain.limits.asked import probed

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


def stale(
    ask: Annotated[
        bool, Option("--ask", help="first ask the index for the newest releases: recipes/releases.yaml")
    ] = False,
    today: Annotated[str, Option(help="count ages up to this day, e.g. 2027-03-01")] = "",
) -> None:
    """List what to run again, most wanted first: proofs over 90 days old, or of another minor release than the pin."""
    from datetime import UTC, date, datetime

    from helpers.errors import UsageError
    from helpers.records.claims import load_claims
    from helpers.records.matrix import matrix
    from maintain.proof import stale as ages

    try:
        day = date.fromisoformat(today) if today else datetime.now(UTC).date()
    except ValueError:
        raise UsageError(f"{today!r} is no day", do="write it as 2027-03-01") from None
    if ask:
        found = ages.ask(datetime.now(UTC).date())
        typer.echo(
            f"newest: {', '.join(f'{name} {version}' for name, version in found.items())}; `cookbook render` follows"
        )
    runs = ages.stale(matrix(load_claims()), day)
    for number, run in enumerate(runs, start=1):
        first, *rest = run.lines()
        typer.echo("\n".join([f"{number}. {first}", *rest]))
    typer.echo(f"{len(runs)} runs to repeat" if runs else "nothing is stale")


def check_install(
    stack: Annotated[str, typer.Argument(help="the stack to prove: cuda")] = "cuda",
    keep: Annotated[bool, Option("--keep", help="use the stack as it is instead of installing anew")] = False,
) -> None:
    """Install a GPU stack's lock for real (several GB) and put its recipes before that build's parser."""
    from maintain.install import check_install

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


def new_target(
    name: Annotated[str, typer.Argument(help="small letters, digits and _")],
    like: Annotated[str, Option(help="the target it resembles most")] = "h200",
    remove: Annotated[bool, Option("--remove", help="take its recipe, notebook and test away again")] = False,
) -> None:
    """Scaffold a target: its recipe, its notebook and its test."""
    from helpers.paths import shown
    from maintain.scaffold import new_target as scaffold
    from maintain.scaffold import remove_target

    for path in remove_target(name) if remove else scaffold(name, like):
        done = "written" if not remove else "rows removed" if path.exists() else "removed"
        typer.echo(f"{done}: {shown(path)}")
    if not remove:
        typer.echo("next: replace every TODO, then follow CONTRIBUTING.md")


def release_table(reports: list) -> str:
    """Several releases side by side: what each does not take."""
    table = Table(title="The recipes against other releases")
    table.add_column("flag or variable, and where it stands")
    for report in reports:
        table.add_column(f"vLLM {report.vllm}", no_wrap=True)
    lines: dict[tuple[str, str], set[str]] = {}
    for report in reports:
        for fault in report.faults:
            lines.setdefault((fault.name, fault.where), set()).add(report.vllm)
    for (name, where), releases in lines.items():
        table.add_row(f"{name}  {where}", *("✗" if r.vllm in releases else "✓" for r in reports))
    if not lines:
        table.add_row("everything", *("✓" for _ in reports))
    notes = [
        f"vLLM {r.vllm}: {r.options} options and {r.variables} variables of {r.commands} commands looked up"
        for r in reports
    ]
    notes += [f"not checked: {line}" for line in dict.fromkeys(n for r in reports for n in r.not_checked)]
    return table_text(table) + "\n" + "\n".join(notes)
