"""The two pages that list every target, README and start_here, kept equal to recipes and records."""

import os
from collections.abc import Iterator
from pathlib import Path

from helpers.render import readme, start
from helpers.render.notebook import text_of


def drifted() -> Iterator[tuple[Path, str]]:
    """(page, what it should hold) of each that differs."""
    for path, text in ((readme.README, readme.rendered()), (start.START, text_of(start.rendered()))):
        if path.read_text(encoding="utf-8") != text:
            yield path, text


def refresh() -> list[Path]:
    """Write what has drifted; returns the pages that changed."""
    changed = []
    for path, text in list(drifted()):
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
        changed.append(path)
    return changed
