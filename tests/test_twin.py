"""The Chinese pages keep step with the English ones, and a page that falls behind is named."""

import shutil
from pathlib import Path

import pytest

from maintain.twin import TWINS, differences


@pytest.mark.parametrize(("original", "twin"), TWINS, ids=lambda path: path.name)
def test_the_twin_keeps_step(original: Path, twin: Path) -> None:
    assert differences(original, twin) == []
    assert twin.name in original.read_text(encoding="utf-8") and original.name in twin.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("was", "becomes", "kind"),
    [
        ("## ", "### ", "heading of level"),
        ("make run TARGET=h100", "make run TARGET=h200", "command"),
        ("Python 3.11", "Python 3.12", "number"),
        ("(docs/nano.md)", "(docs/micro.md)", "link"),
        ("`.venv/bin/cookbook status`", "`cookbook status`", "word in code"),
        ("| [docs/benchmarks.md](docs/benchmarks.md) |\n", "| |\n", "link"),
    ],
)
def test_a_twin_that_falls_behind_is_named(tmp_path: Path, was: str, becomes: str, kind: str) -> None:
    original, twin = TWINS[0]
    text = twin.read_text(encoding="utf-8")
    assert was in text
    behind = tmp_path / twin.name
    behind.write_text(text.replace(was, becomes, 1), encoding="utf-8")
    assert any(kind in line for line in differences(original, behind))


def test_a_cell_that_differs_is_named(tmp_path: Path) -> None:
    original, twin = TWINS[1]
    behind = Path(shutil.copy(twin, tmp_path))
    behind.write_text(
        twin.read_text(encoding="utf-8").replace("preflight.detect()", "preflight.look()"), encoding="utf-8"
    )
    assert any("cell of code" in line for line in differences(original, behind))
