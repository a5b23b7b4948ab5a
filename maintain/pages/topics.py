"""Topic pages executed for real and kept with what they show: `.venv/bin/python -m maintain.pages.topics endpoints`."""

import sys
from pathlib import Path

import nbformat
import papermill

from helpers.paths import NOTEBOOKS, ROOT, RUNS
from maintain.pages.notebook import write
from maintain.pages.pages import fill
from maintain.pages.publish import cleaned

TOPICS = NOTEBOOKS / "topics"


def executed(name: str) -> Path:
    """Run a page with its own parameters and keep its outputs; returns the page. The run is at `runs/topics/NAME.ipynb`."""
    page, run = TOPICS / f"{name}.ipynb", RUNS / "topics" / f"{name}.ipynb"
    run.parent.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(str(page), str(run), cwd=str(TOPICS), progress_bar=False)
    done, source = nbformat.read(run, as_version=4), nbformat.read(page, as_version=4)
    write(fill(cleaned(done, source, {f"{ROOT}/": ""})), page)
    return page


if __name__ == "__main__":
    for topic in sys.argv[1:]:
        print(executed(topic))
