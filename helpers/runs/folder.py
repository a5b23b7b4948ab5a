"""The folder of one run: `runs/<id>/`, and the link `runs/latest` to the newest."""

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from helpers.errors import CookbookError
from helpers.paths import RUNS


def new_folder(target: str, runs: Path = RUNS) -> Path:
    """Make `runs/<UTC time>-<target>-<4 hex digits>/bench` and point `runs/latest` at the run."""
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = runs / f"{moment}-{target}-{secrets.token_hex(2)}"
    try:
        (folder / "bench").mkdir(parents=True)
    except OSError as error:
        raise CookbookError(
            f"the run folder {folder.name} cannot be made",
            why=error.strerror,
            do="set COOKBOOK_RUNS to a folder you can write to",
        ) from None
    link_latest(folder)
    return folder


def link_latest(folder: Path) -> None:
    """Replace the link `latest` beside the folder, never leaving it absent."""
    link, temporary = folder.parent / "latest", folder.parent / f".latest.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.name)
    os.replace(temporary, link)
