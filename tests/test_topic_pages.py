"""The topic pages: what they say of records follows the records, and they read nothing that only a checkout's tests have."""

import re
from pathlib import Path

import nbformat
import pytest

from helpers.paths import NOTEBOOKS, ROOT
from helpers.records import curves
from helpers.records.matrix import NEVER
from maintain.pages.notebook import text_of
from maintain.pages.overview import rendered
from maintain.studies.answers import layouts, scores

PAGES = [*sorted((NOTEBOOKS / "topics").glob("*.ipynb")), *sorted((NOTEBOOKS / "studies").glob("*.ipynb"))]
WRITTEN = [
    page for page in PAGES if page.parent.name == "topics" or page.stem == "h200_tuning"
]  # the others are rendered
TEXTS = [*WRITTEN, *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]  # README follows the records
# A record may come any day: who says by hand that something never ran is wrong from then on.
BY_HAND = re.compile(
    r"\b(?:ha(?:s|ve) (?:never|not) (?:been )?run|never (?:been )?r[au]n|nobody has (?:ever )?r[au]n)\b", re.IGNORECASE
)
TABLE = re.compile(r"^\|.*\|$", re.MULTILINE)  # written from records


def prose(path: Path) -> str:
    """What was written by hand: Markdown cells, or a document, without tables."""
    if path.suffix == ".ipynb":
        text = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    return " ".join(TABLE.sub("", text).replace('"never run here"', "").split())


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_nobody_says_by_hand_that_something_never_ran(path: Path) -> None:
    assert not BY_HAND.findall(prose(path)), f"let a cell with the tag from-records say it: {path.name}"


def test_a_sentence_by_hand_is_found() -> None:
    old = ("Replicas have never been run here: no record", "It has never run here", "Nobody has run them here.")
    assert all(BY_HAND.search(sentence) for sentence in old)


def test_what_pages_show_of_records_is_what_the_records_say() -> None:
    """`cookbook render` writes what has changed."""
    assert [page.name for page in WRITTEN if page.read_text(encoding="utf-8") != text_of(rendered(page))] == []


def test_a_layout_is_shown_from_its_record_or_as_never_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    today, before, copies, never = layouts("h200", "gpt-oss-20b", ["TP1", "4 x TP1", "TP8"]).markdown.splitlines()[-4:]
    assert today.startswith("| TP1 | 1 | 12,897 at concurrency 256 |") and today.endswith("| 0.32.0 |")
    assert before.startswith("| TP1 | 1 | 16,534 at concurrency 512 |") and before.endswith("| 0.25.1 |")
    assert copies.startswith("| 4 x TP1 | 4 | 9,635 at concurrency 1,024 |")
    assert never.startswith(f"| TP8 | 8 | {NEVER}")
    monkeypatch.setattr(curves, "RECORDS", tmp_path)
    assert layouts("h200", "gpt-oss-20b", ["4 x TP1"]).markdown.splitlines()[-1] == f"| 4 x TP1 | 4 | {NEVER} | | | |"


def test_a_score_is_shown_from_its_record_or_as_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from helpers.evals.record import load_records
    from maintain.studies import answers

    (record,) = load_records()
    result = record.results[0].model_copy(update={"eval": "gpqa", "effort": "high", "score": 0.5})
    mine = record.model_copy(update={"model": "gpt-oss-20b", "results": [result]})
    monkeypatch.setattr(answers, "load_records", lambda: [record, mine])
    lines = scores("gpt-oss-20b").markdown.splitlines()
    assert sum(NEVER in line for line in lines) == 5
    assert next(line for line in lines if "50.0 on cpu" in line).startswith("| gpqa | high |")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_needs_nothing_of_the_tests(path: Path) -> None:
    code = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert not any(re.search(r"""["'/]tests\b|\bfixtures\b""", source) for source in code)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_picture_has_words_for_who_cannot_see_it(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                assert len(output.metadata.get("image/png", {}).get("alt", "")) > 20, cell.source


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_a_page_says_what_it_gives_and_ends_with_what_there_is_now(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    first, last = cells[0].source, cells[-1].source
    assert "You " in first.split("\n\n")[1] and "**Contents**" in first
    anchors = {re.sub(r"[^\S\n]+", "-", title) for title in re.findall(r"^## (.+)$", prose_lines(cells), re.M)}
    linked = set(re.findall(r"\]\(#([^)]+)\)", first))
    assert linked <= {anchor.replace("`", "") for anchor in anchors}, linked - anchors
    assert "**Read next:**" in last
    for target in re.findall(r"\]\((?!#|http)([^)#]+)", prose_lines(cells)):
        assert (path.parent / target).exists(), target


def prose_lines(cells: list) -> str:
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
