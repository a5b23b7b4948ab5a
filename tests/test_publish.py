"""`cookbook publish` on a target's first and on a later run: record, page, README and start_here move together."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from helpers import paths


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a page is made from."""
    keep = shutil.ignore_patterns("__pycache__", ".*", "kernel-*")  # the last: sockets of runs beside
    for name in ("helpers", "maintain", "recipes", "notebooks", "docs"):
        shutil.copytree(paths.ROOT / name, tmp_path / name, ignore=keep)
    shutil.copy(paths.ROOT / "README.md", tmp_path)
    return tmp_path


def cookbook(checkout: Path, *words: str) -> str:
    env = {**os.environ, "COOKBOOK_ROOT": str(checkout), "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "helpers.cli", *words]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, cwd=checkout, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def executed(page: Path, folder: Path) -> None:
    """The page as a run would leave it: every cell counted, contract cells with a line."""
    notebook = nbformat.read(page, as_version=4)
    for count, cell in enumerate(c for c in notebook.cells if c.cell_type == "code"):
        cell.execution_count = count + 1
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"cell {count} ✓\n")]
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / "notebook.ipynb")


def code(page: Path) -> list:
    return [cell for cell in nbformat.read(page, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.full
def test_the_first_record_of_a_machine_gives_its_page_the_figures(checkout: Path):
    """With the record there the page has cells that the run's notebook did not have: its outputs move onto them."""
    page, records = checkout / "notebooks/targets/h200.ipynb", checkout / "recipes/records/h200"
    record = json.loads(next(records.glob("*20b-synthetic.json")).read_text())
    shutil.rmtree(records)
    compared = checkout / "notebooks/topics/batch_runs.ipynb"  # shows two releases of this very machine
    for one in (page, compared, *(checkout / "notebooks/studies").glob("h200*.ipynb")):
        one.unlink()
    cookbook(checkout, "render")
    assert "has not run on its machine yet" in page.read_text() and "from-records" not in page.read_text()
    assert "targets/h200.ipynb" in readme(checkout).split("<details>")[-1], "folded away"
    run = checkout / "runs/one"
    executed(page, run)
    (run / "record.json").write_text(json.dumps(record))
    before = len(code(page))
    told = cookbook(checkout, "publish", str(run))
    assert "recipes/records/h200/20261122-154802-gpt-oss-20b-synthetic.json" in told and "README.md" in told
    after = code(page)
    assert len(after) == before + 1, "a figure of the model that was measured"
    assert [cell.execution_count for cell in after] == list(range(1, len(after) + 1)) and all(c.outputs for c in after)
    (figure,) = [cell for cell in after if "from-records" in cell.metadata.get("tags", [])]
    assert "image/png" in figure.outputs[0].data
    study = (checkout / "notebooks/studies/h200.ipynb").read_text()
    assert "What fits?" in study and "gpt-oss-20b TP1: synthetic weights" in readme(checkout).split("<details>")[-2]
    assert "gpt-oss-20b TP1: synthetic weights" in (checkout / "notebooks/start_here.ipynb").read_text()
    assert cookbook(checkout, "render", "--check") == "drifted: none\n"


def readme(checkout: Path) -> str:
    return (checkout / "README.md").read_text()
