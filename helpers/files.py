"""Files that are whole or not there, and one writer at a time."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.errors import CookbookError


def write_whole(path: Path | str, content: str | bytes, *, mode: int | None = None) -> Path:
    """Write `path` whole or not at all: beside it first, then renamed over it; its folder is made. Returns the path.

    A reader sees the old content or the new one, never a part. Raises OSError and leaves the old content where the disk
    is full or the folder is closed. `mode` are the permissions, as `0o600`; None for the usual ones.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(
            os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666 if mode is None else mode), "wb"
        ) as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return path


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where none can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


@contextlib.contextmanager
def alone(path: Path | str, *, busy: CookbookError | None = None) -> Iterator[None]:
    """Hold the lock file `path` for the block; the system lets go of it when the process ends, however it does.

    Waits for whoever holds it; with `busy`, raises that at once instead.
    """
    from filelock import FileLock, Timeout

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    if busy is None:
        lock.acquire()
    else:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise busy from None
    try:
        yield
    finally:
        lock.release()
