"""The tables of `cookbook targets`."""

from rich.console import Console
from rich.table import Table

from helpers.recipes import load_target
from helpers.records.claims import load_claims
from helpers.records.matrix import NEVER, MatrixRow, matrix, summaries

WIDTH = 140


def console_matrix(every: bool) -> str:
    """A line per target: what was measured and checked on it and when; or a line per combination, with its claims."""
    rows = matrix(load_claims())
    if every:
        return _combinations(rows)
    table = Table(show_lines=False)
    for name in ("target", "throughput measured", "checked", "last run"):
        table.add_column(name, no_wrap=name in ("target", "last run"))
    found = summaries(rows)
    for one in found:
        if one.day:
            table.add_row(one.target, *(plain("\n".join(lines)) for lines in (one.measured, one.held)), one.day)
    never = ", ".join(one.target for one in found if not one.day)
    return f"{table_text(table)}\n{NEVER}: {never}\n`cookbook targets NAME` shows one machine, --all every size and profile"


def _combinations(rows: list[MatrixRow]) -> str:
    table = Table(title="What was verified, from the run records", show_lines=False)
    for name in ("target", "model", "TP", "profile", "state"):
        table.add_column(name, no_wrap=name != "state")
    for row in rows:
        mark = "*" if row.recommended else ""
        state = plain(row.line()) if row.claims else NEVER
        table.add_row(row.target, row.model, f"{row.tensor_parallel_size}{mark}", row.profile, state)
    return table_text(table) + "\n* the recipe's recommendation"


def target_sheet(name: str) -> str:
    """One target: its stack, sizes, limits and what is known about it."""
    target = load_target(name)
    lines = [f"{target.title}: {target.summary}", f"image: {target.stack.image} ({target.stack.image_source})"]
    expected = target.expect
    lines.append(f"backends: attention {expected.attention or 'not named'}, MoE {expected.moe or 'not named'}")
    for model, sizes in target.models.items():
        offered = ", ".join(str(size) for size in sizes.tensor_parallel_size)
        lines.append(f"{model}: tensor_parallel_size {offered}; recommended {sizes.default}: {sizes.why}")
    for limit in target.known_limits:
        seen = f" (vLLM {limit.seen.vllm}; {limit.seen.hardware})" if limit.seen else ""
        lines.append(" ".join([f"limit {limit.id}: {limit.what}; {limit.advice}{seen}", *limit.upstream]))
    lines += [
        f"{row.model} TP{row.tensor_parallel_size} {row.profile}: {plain(row.line())}"
        for row in matrix(load_claims(), [name])
    ]
    return "\n".join(lines)


def plain(text: str) -> str:
    """A text of a page without Markdown's bold."""
    return text.replace("**", "")


def table_text(table: Table) -> str:
    """The table as plain text, WIDTH characters wide at most."""
    console = Console(width=WIDTH)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()
