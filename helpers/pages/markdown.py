"""Markdown that pages and notebooks show: texts, and tables made one way."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class Markdown:
    """A text that a notebook shows as Markdown."""

    markdown: str

    def _repr_markdown_(self) -> str:
        return self.markdown

    def __repr__(self) -> str:
        return self.markdown


def row(*cells: object) -> str:
    """A line of a table.

    >>> row("TP2", "", 3)
    '| TP2 | | 3 |'
    """
    return "|" + "|".join(f" {cell} " if str(cell) else " " for cell in cells) + "|"


def table(columns: Iterable[str], rows: Iterable[str]) -> str:
    """The rows under their columns' names."""
    names = list(columns)
    return "\n".join([row(*names), "|" + "---|" * len(names), *rows])


def cell(text: str) -> str:
    """A text on one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")
