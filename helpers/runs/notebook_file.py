"""The executed notebook on disk: whole at any moment, though papermill writes in place."""

import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.iorw import LocalHandler, papermill_io

from helpers import redact
from helpers.errors import CookbookError
from helpers.files import write_whole


class WholeFiles(LocalHandler):
    """Writes a temporary file and renames it, so that a full disk or a kill leaves the notebook of before.

    What a cell printed or raised is kept without secrets: a reader's own cell may show its environment. A text is
    searched once in all the notebook's saves, and where none held a secret nothing is encoded again.
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


class OneSaveACell(NBClientEngine):
    """papermill's engine, saving the notebook as a code cell starts, where one fails, and at the end.

    papermill itself saves before and after every cell, prose too: the file before a cell is the one after the last.
    """

    NAME = "one-save-a-cell"

    @classmethod
    def execute_managed_notebook(cls, nb_man: NotebookExecutionManager, *args: Any, **options: Any) -> None:
        """Run the cells; raises what the kernel's client raises."""
        whole, due = nb_man.save, {nb_man.RUNNING, nb_man.FAILED}

        def save(**given: Any) -> None:
            if any(cell.cell_type == "code" and cell.metadata.papermill["status"] in due for cell in nb_man.nb.cells):
                whole(**given)

        nb_man.save = save
        try:
            super().execute_managed_notebook(nb_man, *args, **options)
        finally:
            nb_man.save = whole  # for the last save, whatever came


papermill_engines.register(OneSaveACell.NAME, OneSaveACell)
