"""The executed notebook on disk: whole at any moment, though papermill writes in place."""

import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from papermill.iorw import LocalHandler, papermill_io

from helpers import redact
from helpers.errors import CookbookError
from helpers.files import write_whole


class WholeFiles(LocalHandler):
    """Writes a temporary file and renames it, so that a full disk or a kill leaves the notebook of before.

    What a cell printed or raised is kept without secrets: a reader's own cell may show its environment. Papermill writes
    the whole notebook twice a cell: a text is searched once, and where none held a secret nothing is encoded again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.masked = lru_cache(maxsize=None)(redact.text)

    def write(self, buf: str, path: str) -> None:
        try:
            write_whole(path, without_secrets(buf, self.masked))
        except OSError as error:
            raise CookbookError(
                "the executed notebook cannot be written",
                error.strerror or "",
                "free some disk, or name another run_dir",
            ) from None


def without_secrets(notebook: str, masked: Callable[[str], str] = redact.text) -> str:
    """The notebook's JSON with secrets `masked` in what its cells put out."""
    try:
        content = json.loads(notebook)
        outputs = [output for cell in content["cells"] for output in cell.get("outputs", [])]
    except (ValueError, KeyError, TypeError):  # no notebook: somebody else's file
        return notebook
    found = False
    for place in (place for output in outputs for place in (output, output.get("data", {}))):
        for name in {"text", "traceback", "evalue", "text/plain", "text/html"} & set(place):
            lines = place[name]
            place[name] = masked(lines) if isinstance(lines, str) else [*map(masked, lines)]
            found |= place[name] != lines
    return (json.dumps(content, indent=1, ensure_ascii=False) if found else notebook.rstrip("\n")) + "\n"


def save_whole(folder: Path) -> WholeFiles:
    """Let papermill write notebooks below `folder` (absolute) this way; returns the handler."""
    handler = WholeFiles()
    papermill_io.register(f"{folder}{os.sep}", handler)
    return handler
