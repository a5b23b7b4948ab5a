"""The tables of `cookbook targets` and `cookbook check`."""

from rich.console import Console
from rich.table import Table

from helpers.recipes import load_target
from helpers.records.claims import load_claims
from helpers.records.matrix import NEVER, brief, matrix

WIDTH = 140


def console_matrix(every: bool) -> str:
    """One line per target and model (or per combination): its state and the claims behind it."""
    rows = matrix(load_claims())
    table = Table(title="What was verified, from the run records", show_lines=False)
    for name in ("target", "model", "TP", "profile", "state"):
        table.add_column(name, no_wrap=name != "state")
    for row in rows if every else brief(rows):
        mark = "*" if row.recommended else ""
        state = row.line() if row.claims else NEVER
        table.add_row(row.target, row.model, f"{row.tensor_parallel_size}{mark}", row.profile, state)
    return _text(table) + "\n* the recipe's recommendation; `cookbook targets NAME` shows one target in full"


def target_sheet(name: str) -> str:
    """One target: its stack, sizes, limits and what is known about it."""
    target = load_target(name)
    lines = [f"{target.title}: {target.summary}", f"image: {target.stack.image} ({target.stack.image_source})"]
    expected = target.expect
    lines.append(f"backends: attention {expected.attention or 'not named'}, MoE {expected.moe or 'not named'}")
    for model, sizes in target.models.items():
        offered = ", ".join(str(size) for size in sizes.tensor_parallel_size)
        lines.append(f"{model}: tensor_parallel_size {offered}; recommended {sizes.default}: {sizes.why}")
    lines += [f"limit {limit.id}: {limit.what}; {limit.advice}" for limit in target.known_limits]
    lines += [
        f"{row.model} TP{row.tensor_parallel_size} {row.profile}: {row.line()}" for row in matrix(load_claims(), [name])
    ]
    return "\n".join(lines)


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
    return _text(table) + "\n" + "\n".join(notes)


def _text(table: Table) -> str:
    console = Console(width=WIDTH)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()
