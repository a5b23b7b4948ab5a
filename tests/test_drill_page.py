"""docs/drills.md: the drills that there are and no others, rows kept with their day, and a count that is theirs."""

import re

from helpers.paths import ROOT
from tests.drills.drill_page import NEVER, merged, rows_of, summary, text

PAGE = (ROOT / "docs" / "drills.md").read_text(encoding="utf-8")
DRILL = re.compile(r"^(?:@|pytestmark).*?^def test_(\w+)", re.M | re.S)


def row(name: str, taken: str = "2026-11-27, vLLM 0.32.0", result: str = "passed") -> dict[str, str]:
    return {"drill": name, "damage": "a | b", "checked": "c", "message": "d\\|e", "result": result, "taken": taken}


def test_the_page_is_what_its_rows_say() -> None:
    assert text(rows_of(PAGE)) == PAGE, "run `make drills`"


def test_every_drill_has_its_row_and_every_row_its_drill() -> None:
    """A new drill: `make drills ARGS="-k its_name"`."""
    files = (ROOT / "tests" / "drills").glob("test_drill_*.py")
    drills = {name.replace("_", " ") for file in files for name in DRILL.findall(file.read_text(encoding="utf-8"))}
    rows = rows_of(PAGE)
    assert {re.sub(r" \(.*\)$", "", name) for name in rows} == drills
    assert not [name for name, one in rows.items() if one["result"] not in ("passed", "skipped")]


def test_a_run_of_some_keeps_the_other_rows_with_their_day() -> None:
    old = {name: row(name, "2026-10-02, vLLM 0.31.0") for name in ("kept", "run again", "gone")}
    roster = {name: row(name, "", NEVER) for name in ("new", "kept", "run again")}
    rows = merged(text(old), {"run again": row("run again")}, roster)
    assert list(rows) == list(roster) and rows["kept"] == old["kept"] and rows["new"]["result"] == NEVER
    assert rows_of(text(rows)) == rows
    assert summary(rows) == (
        "3 drills: 2 passed, 0 skipped, 0 failed, 1 not taken. Taken: 1 with vLLM 0.31.0 (2026-10-02), "
        "1 with vLLM 0.32.0 (2026-11-27)."
    )
