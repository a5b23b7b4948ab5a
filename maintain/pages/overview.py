"""The two pages that list every target, README and start_here, kept equal to recipes and records."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers.files import write_whole
from helpers.paths import NOTEBOOKS
from maintain.pages import readme
from maintain.pages.notebook import text_of
from maintain.pages.pages import fill


def drifted() -> Iterator[tuple[Path, str]]:
    """(page, what it should hold) of each that differs."""
    for path, text in ((readme.README, readme.rendered()), (START, text_of(rendered()))):
        if path.read_text(encoding="utf-8") != text:
            yield path, text


def refresh() -> list[Path]:
    """Write what has drifted; returns the pages that changed."""
    changed = []
    for path, text in list(drifted()):
        changed.append(write_whole(path, text))
    return changed


START = NOTEBOOKS / "start_here.ipynb"


def rendered() -> NotebookNode:
    """The notebook as it should be: its cells that only read the repository show what is there today."""
    return fill(nbformat.read(START, as_version=4))
