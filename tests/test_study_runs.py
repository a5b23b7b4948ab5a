"""What a study says of its runs: which phases of a start take most, what a second start saves, who captures fewer graphs."""

import pytest

from helpers.recipes import load_target
from helpers.records.record import RunRecord
from maintain.pages import measured
from maintain.studies import runs


def test_the_sentences_are_computed_from_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target("h100")
    first = next(r for r in runs.timed(target) if r.model == "gpt-oss-20b" and not r.serving.variant)

    def start(compiling: float, total: float, *notes: str) -> RunRecord:
        phases = {"imports": 10.0, "compile": compiling, "total": total}
        return first.model_copy(update={"startup_s": phases, "notes": list(notes)})

    rows = [start(50, 100), start(60, 120), start(20, 50, "start 2 of the same command on this host")]
    monkeypatch.setattr(runs, "timed", lambda target: rows)
    said = runs.starts_said(target)
    assert "in the median of the 3 rows: `compile` 50% (torch.compile); `imports` 10%" in said
    assert "took 50 s; the longest of 2 first starts took 120 s. `compile` fell most, from 60 to 20 s." in said
    rows.pop()
    assert "second start" not in runs.starts_said(target)
    rows.pop()
    assert runs.starts_said(target) == "", "one start has no table, so nothing is said of it"


def test_a_server_with_graph_sizes_of_its_own_says_how_many() -> None:
    target = load_target("h100")
    named = [r for r in runs.timed(target) if "--cudagraph-capture-sizes" in r.argv]
    assert any(not record.serving.variant for record in named), "a campaign's server of the recipe's profile"
    marked = [line for line in measured.starts(target).splitlines() if " graph sizes" in line]
    assert len(marked) == len(named) and all(runs.label(record).endswith(" graph sizes") for record in named)
