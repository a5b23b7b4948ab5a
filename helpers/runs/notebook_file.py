"""The executed notebook on disk: whole at any moment, though papermill writes in place."""

import os
from pathlib import Path

from papermill.iorw import LocalHandler, papermill_io

from helpers.errors import CookbookError


class WholeFiles(LocalHandler):
    """Writes a temporary file and renames it, so that a full disk or a kill leaves the notebook of before."""

    def write(self, buf: str, path: str) -> None:
        part = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.part")
        try:
            part.write_text(buf, encoding="utf-8")
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise CookbookError(
                "the executed notebook cannot be written", error.strerror, "free some disk, or name another run_dir"
            ) from None


def save_whole(folder: Path) -> WholeFiles:
    """Let papermill write notebooks below `folder` (absolute) this way; returns the handler."""
    handler = WholeFiles()
    papermill_io.register(f"{folder}{os.sep}", handler)
    return handler
