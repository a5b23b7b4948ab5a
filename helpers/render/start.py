"""notebooks/start_here.ipynb: written by hand, but for the matrix in it, which the records decide."""

import nbformat
from nbformat import NotebookNode

from helpers.paths import NOTEBOOKS
from helpers.render.pages import fill

START = NOTEBOOKS / "start_here.ipynb"


def rendered() -> NotebookNode:
    """The notebook as it should be: its cells that only read the repository show what is there today."""
    return fill(nbformat.read(START, as_version=4))
