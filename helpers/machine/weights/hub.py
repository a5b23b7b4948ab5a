"""Weights from the hub: what vLLM needs and no more, resumed, checked against the disk, from the cache if it is there."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers import keys
from helpers.errors import CookbookError
from helpers.machine.weights.checkpoint import check_checkpoint
from helpers.recipes import Model

GIB = 2**30
SPARE = 1.01  # of what is to be fetched: index files, blocks of the file system


class HubRefused(CookbookError):
    """The hub wants a token that may read the model."""


@dataclass(frozen=True)
class DownloadPlan:
    """What a fetch would do; bytes."""

    files: int
    total: int
    missing: int
    free: int
    cache: Path

    def require_room(self, what: str) -> None:
        """Raise when the disk cannot take what is missing."""
        if self.missing * SPARE > self.free:
            raise CookbookError(
                f"{what} does not fit on the disk",
                why=f"{self.missing / GIB:.1f} GiB are to be fetched into {self.cache} and {self.free / GIB:.1f} are free",
                do="free some disk, or set HF_HOME to a folder on a larger one",
            )


def cached(model: Model, cache: Path | None = None) -> Path | None:
    """The checkpoint in the hub cache, if it is there and whole; no network is used."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(local_files_only=True, **_what(model, cache)))
        check_checkpoint(folder, model)
    except (LocalEntryNotFoundError, CookbookError):
        return None
    return folder


def plan(model: Model, cache: Path | None = None) -> DownloadPlan:
    """Ask the hub what would be fetched, and the disk what it can take."""
    from huggingface_hub import constants, snapshot_download

    where = Path(cache or constants.HF_HUB_CACHE)
    with _clear_errors(model, where):
        files = snapshot_download(dry_run=True, endpoint=_endpoint(), **_what(model, cache))
    parts = sum(path.stat().st_size for path in _storage(model, where).glob("blobs/*.incomplete"))
    missing = sum(file.file_size or 0 for file in files if file.will_download)
    total = sum(file.file_size or 0 for file in files)
    return DownloadPlan(len(files), total, max(0, missing - parts), _free(where), where)


def fetch(model: Model, cache: Path | None = None, report=print) -> Path:
    """The checkpoint of a model from the hub; a second call uses no network, an interrupted one goes on.

    A person at a terminal is asked for the token that the hub misses. Raises `CookbookError` for an unreachable hub,
    a missing token, a full disk, and for what arrived broken.
    """
    if model.hub_id is None:
        raise CookbookError(f"{model.model} is on no hub", do="use weights nano, or a path")
    found = cached(model, cache)
    if found:
        return found
    try:
        return _fetched(model, cache, report)
    except HubRefused:
        if not keys.ask("HF_TOKEN", f"the hub gives {model.hub_id} only to a token that may read it"):
            raise
        return _fetched(model, cache, report)


def _fetched(model: Model, cache: Path | None, report) -> Path:
    from huggingface_hub import snapshot_download

    todo = plan(model, cache)
    todo.require_room(model.hub_id)
    report(
        f"{model.hub_id}: {todo.missing / GIB:.2f} GiB of {todo.total / GIB:.2f} to fetch into {todo.cache} "
        f"(without {', '.join(model.download.exclude)})"
    )
    with _clear_errors(model, todo.cache):
        folder = Path(snapshot_download(endpoint=_endpoint(), **_what(model, cache)))
    check_checkpoint(folder, model)
    return folder


def _what(model: Model, cache: Path | None) -> dict:
    return {"repo_id": model.hub_id, "ignore_patterns": model.download.exclude, "cache_dir": cache}


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")  # read now: the library reads it once, when it is imported


def _storage(model: Model, cache: Path) -> Path:
    return cache / f"models--{model.hub_id.replace('/', '--')}"


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextlib.contextmanager
def _clear_errors(model: Model, cache: Path) -> Iterator[None]:
    """Turns the library's errors into one line: what, why, what to do."""
    try:
        yield
    except CookbookError:
        raise
    except Exception as error:
        raise _translated(error, model.hub_id, cache) from error


def _translated(error: Exception, name: str, cache: Path) -> CookbookError:
    from huggingface_hub import errors

    chain = _chain(error)
    status = next((getattr(e.response, "status_code", None) for e in chain if hasattr(e, "response")), None)
    if any(getattr(one, "errno", None) in (errno.ENOSPC, errno.EDQUOT) for one in chain):
        free = f"no space is left in {cache}"
        return CookbookError(f"{name} was not fetched", why=free, do="free some disk and run again")
    if status in (401, 403) or any(isinstance(one, errors.GatedRepoError) for one in chain):
        had = "the token in HF_TOKEN was refused" if os.environ.get("HF_TOKEN") else "no token was given"
        return HubRefused(
            f"the hub did not give {name}", why=f"{had} (HTTP {status})", do="set HF_TOKEN to a token that may read it"
        )
    if status == 404:
        return CookbookError(f"the hub has no {name}", why="it answered 404", do="check HF_ENDPOINT")
    where = _endpoint() or "https://huggingface.co"
    why = next((str(one) for one in reversed(chain) if str(one)), type(error).__name__).splitlines()[0]
    return CookbookError(
        f"{name} was not fetched from {where}",
        why=why[:200],
        do="check the network (or HF_ENDPOINT, HTTPS_PROXY) and run again: it goes on where it stopped",
    )


def _chain(error: BaseException | None) -> list[BaseException]:
    chain = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain
