"""The pages that no target owns, kept equal to what they speak of: README, install page, start_here, studies, topics, CLI."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers.files import write_whole
from helpers.paths import NOTEBOOKS
from helpers.progress import bar
from maintain.deploy import page as deploy
from maintain.pages import cli, readme, study
from maintain.pages.levers import page as levers
from maintain.pages.notebook import text_of
from maintain.pages.pages import fill
from maintain.sharing import verified
from maintain.sizing import page as sizing

START, START_ZH = NOTEBOOKS / "start_here.ipynb", NOTEBOOKS / "start_here.zh.ipynb"


def pages() -> Iterator[tuple[Path, str]]:
    """Each page and what it should hold."""
    yield readme.README, readme.rendered()
    yield readme.INSTALL, readme.install_page()
    by_hand = [START, START_ZH, *(NOTEBOOKS / "topics").glob("*.ipynb"), *(NOTEBOOKS / "studies").glob("*_*.ipynb")]
    for path in sorted(by_hand):
        yield path, text_of(rendered(path))
    yield cli.PAGE, cli.rendered()
    yield verified.PAGE, verified.verified()
    yield sizing.PAGE, sizing.rendered()
    yield from deploy.pages()
    for name in study.studied():
        yield study.path_of(name), text_of(study.render(name))
    yield levers.PAGE, text_of(levers.render())


def drifted() -> Iterator[tuple[Path, str]]:
    """(page, what it should hold) of each that differs."""
    for path, text in bar("pages", unit=" pages", iterable=pages()):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield path, text


def refresh() -> list[Path]:
    """Write what has drifted, and the README's figure where its numbers have; returns the files that changed."""
    block = readme.figure_block()
    same = not block or (readme.FIGURE.exists() and block in readme.README.read_text(encoding="utf-8"))
    changed = [write_whole(path, text) for path, text in list(drifted())]
    if not same:
        readme.FIGURE.parent.mkdir(exist_ok=True)
        readme.figure().figure.savefig(readme.FIGURE, metadata={"Software": None})
        changed.append(readme.FIGURE)
    return changed


def rendered(path: Path = START) -> NotebookNode:
    """A page as it should be: its cells that only read the repository show what is there today, its panel nothing.

    A code-hosting page draws no notebook whose metadata holds the state of widgets.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if "panel" in cell.metadata.get("tags", []):
            cell.outputs = []
    return fill(notebook)
