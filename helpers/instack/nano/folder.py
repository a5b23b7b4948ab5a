"""A folder that is whole or not there."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A scratch folder beside `out` that takes its place when the block has filled it, readable for everybody.

    An older `out` is moved aside first and then removed. Where the block raises, `out` stays as it was. A block that
    removes the scratch folder leaves `out` as it is.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    aside = scratch.with_name(scratch.name + "-old")
    try:
        yield scratch
        if scratch.exists():
            for path in (scratch, *scratch.iterdir()):
                path.chmod(0o755 if path.is_dir() else 0o644)
            if out.exists():
                os.rename(out, aside)
            os.rename(scratch, out)
    finally:
        for path in (scratch, aside):
            shutil.rmtree(path, ignore_errors=True)
