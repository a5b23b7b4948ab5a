"""Static checks on every committed notebook: what a reader and a reviewer may rely on without running it."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from helpers.paths import NOTEBOOKS, ROOT

ALL = sorted(NOTEBOOKS.rglob("*.ipynb"))
EXECUTED = [path for path in ALL if any(c.get("execution_count") for c in nbformat.read(path, as_version=4).cells)]
ABSOLUTE = re.compile(r"""["'\s(](/(?:home|root|work|tmp|Users|opt|mnt)/[^\s"']+)""")
SECRET = re.compile(r"\b(sk-[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{20,}|gh[po]_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16})\b")
SIZE = 1_500_000  # bytes; code-hosting pages stop rendering notebooks of a few megabytes
LINES = 20  # a cell reads like the explanation above it


def load(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in load(path).cells if cell.cell_type == "code"]


def name(path: Path) -> str:
    return str(path.relative_to(NOTEBOOKS))


def test_there_are_notebooks() -> None:
    assert set(EXECUTED) >= {*NOTEBOOKS.glob("topics/*.ipynb"), NOTEBOOKS / "targets" / "cpu.ipynb"}, (
        "nbval compares nothing in a page without outputs"
    )


@pytest.mark.parametrize("path", ALL, ids=name)
def test_is_a_valid_notebook(path: Path) -> None:
    nbformat.validate(load(path))
    assert path.stat().st_size < SIZE
    assert "widgets" not in load(path).metadata, "widget state breaks the rendering on code-hosting pages"
    first = load(path).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")


@pytest.mark.parametrize("path", ALL, ids=name)
def test_holds_no_path_of_a_machine_and_no_secret(path: Path) -> None:
    text = path.read_text()
    assert not ABSOLUTE.findall(json.loads(json.dumps(text))), ABSOLUTE.findall(text)
    assert not SECRET.findall(text)


def test_no_text_holds_a_path_of_a_machine_and_no_secret() -> None:
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    assert len(texts) > 8
    for path in texts:
        text = path.read_text()
        assert str(ROOT) not in text and not re.search(r"/work/|/Users/", text), path.name
        assert not SECRET.findall(text), path.name


def test_no_record_holds_a_path_of_a_machine_or_a_secret() -> None:
    records = [*ROOT.glob("recipes/records/**/*.*"), *ROOT.glob("benchmarks/records/*.json")]
    assert len(records) > 20
    for path in records:
        text = path.read_text()
        assert not ABSOLUTE.findall(text) and not SECRET.findall(text), path


@pytest.mark.parametrize("path", ALL, ids=name)
def test_holds_no_error_and_short_cells(path: Path) -> None:
    for cell in code(path):
        assert not any(output.output_type == "error" for output in cell.outputs), cell.source
        assert len(cell.source.splitlines()) <= LINES, cell.source


@pytest.mark.parametrize("path", ALL, ids=name)
def test_has_one_parameters_cell_of_literals(path: Path) -> None:
    cells = [cell for cell in code(path) if "parameters" in cell.metadata.get("tags", [])]
    assert len(cells) <= 1
    for line in "".join(cell.source for cell in cells).splitlines():
        assert re.match(r"\w+: \w+ = .+  # help: .+", line), f"not an annotated literal with help: {line}"


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_was_executed_in_order_by_a_fresh_kernel(path: Path) -> None:
    """Whole, but for a machine that is not at hand: there a cell added since has not run, and shows nothing."""
    counts = [cell.execution_count for cell in code(path)]
    assert [count for count in counts if count] == list(range(1, len([c for c in counts if c]) + 1))
    assert not any(cell.outputs for cell in code(path) if not cell.execution_count)
    if path.parent.name != "targets" or path.stem == "cpu":
        assert None not in counts, "continuous integration has this machine: run it and publish"
    else:
        assert None not in counts or "cell without output was added or changed" in path.read_text()


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_contract_cells_hold_their_lines(path: Path) -> None:
    """nbval compares nothing where no output is committed. A study and start_here start no server and promise nothing."""
    if path.parent.name == "studies" or path.stem.startswith("start_here"):
        return
    checked = [cell for cell in code(path) if "nbval-check-output" in cell.metadata.get("tags", [])]
    assert checked
    if path.parent.name == "targets" and path.stem != "cpu":  # a cell added since has not run on its machine
        checked = [cell for cell in checked if cell.execution_count]
    for cell in checked:
        text = "".join(output.get("text", "") for output in cell.outputs)
        if path.parent.name == "targets" and path.stem != "cpu" and "– skipped: nothing on this machine" in text:
            continue  # a host without a sandbox: the page says so in this cell
        assert "✓" in text and "✗" not in text, cell.source


def test_the_checks_can_fail(tmp_path: Path) -> None:
    assert ABSOLUTE.search('"/home/me/model"') and SECRET.search("hf_" + "a" * 30)
