"""docs/drills.md: a row for each drill, what ran anew in place of the old; each row says its day and its vLLM."""

import re

HEAD = """# Failure drills

Each drill does the damage for real, then looks at what a user is left with: one clear line, the right exit code, no
orphan process, no held port, no half-written file taken for a whole one, and a next run that works. Written by
`make drills`; `make test` runs the quick ones, `make test-all` every one. `make drills ARGS="-k port"` runs some and keeps
the others' rows, each with the day and the vLLM that it was taken with.

"""
COLUMNS = {"drill": "drill", "damage": "damage", "checked": "what was checked", "message": "message seen"}
COLUMNS |= {"result": "result", "taken": "taken"}
NEVER = "not taken"
Row = dict[str, str]  # a cell for each column


def rows_of(page: str) -> dict[str, Row]:
    """drill -> row of a page; rows that do not say when they were taken are left out."""
    found = [re.split(r"(?<!\\) \| ", line[2:-2]) for line in page.splitlines() if re.match(r"\| (?!drill \|)", line)]
    rows = [
        dict(zip(COLUMNS, (cell.replace("\\|", "|") for cell in cells), strict=True))
        for cells in found
        if len(cells) == len(COLUMNS)
    ]
    return {row["drill"]: row for row in rows}


def merged(page: str, new: dict[str, Row], roster: dict[str, Row]) -> dict[str, Row]:
    """The rows of every drill in `roster`, in its order: taken now, else as the page has it, else never run."""
    old = rows_of(page)
    return {name: new.get(name) or old.get(name) or blank for name, blank in roster.items()}


def text(rows: dict[str, Row]) -> str:
    """The page."""
    cell = lambda words: words.replace("|", "\\|").replace("\n", " ")  # noqa: E731
    lines = [f"| {' | '.join(COLUMNS.values())} |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cell(row[name]) for name in COLUMNS) + " |" for row in rows.values()]
    return f"{HEAD}{summary(rows)}\n\n" + "\n".join(lines) + "\n"


def summary(rows: dict[str, Row]) -> str:
    """How many passed, and with which vLLM on which days."""
    results, taken = [row["result"] for row in rows.values()], [row["taken"] for row in rows.values()]
    told = ", ".join(f"{results.count(result)} {result}" for result in ("passed", "skipped", "failed"))
    told += f", {results.count(NEVER)} {NEVER}" if NEVER in results else ""
    days = {
        where: sorted(one[:10] for one in taken if one[12:] == where)
        for where in sorted({one[12:] for one in taken if one})
    }
    spans = [
        f"{len(found)} with {where} ({' to '.join(sorted({found[0], found[-1]}))})" for where, found in days.items()
    ]
    return f"{len(rows)} drills: {told}. Taken: {', '.join(spans)}."
