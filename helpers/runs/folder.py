"""The folder of one run: `runs/<id>/`, and the link `runs/latest` to the newest."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from helpers.errors import CookbookError
from helpers.paths import RUNS


def new_folder(target: str) -> Path:
    """Make `runs/<UTC time>-<target>-<4 hex digits>/bench` and point `runs/latest` at the run."""
    folder = _made(target, "bench")
    link_latest(folder)
    return folder


@contextmanager
def kept_on_failure(name: str) -> Iterator[Path]:
    """A folder below `runs/` that goes when the block ends well; what fails or is interrupted leaves it, logs and all."""
    folder = _made(name)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _made(name: str, below: str = "") -> Path:
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = RUNS / f"{moment}-{name}-{secrets.token_hex(2)}"
    try:
        (folder / below).mkdir(parents=True)
    except OSError as error:
        raise CookbookError(
            f"the run folder {folder.name} cannot be made",
            why=error.strerror or "",
            do="set COOKBOOK_RUNS to a folder you can write to",
        ) from None
    return folder


def link_latest(folder: Path) -> None:
    """Replace the link `latest` beside the folder, never leaving it absent."""
    link, temporary = folder.parent / "latest", folder.parent / f".latest.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.name)
    os.replace(temporary, link)
