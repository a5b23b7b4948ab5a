"""The page on replicas for real: in a file of its own, so that no other server of this lane is alive beside its two."""

from pathlib import Path

import pytest
from test_cpu_notebook import nbval, prepared

from helpers.paths import NOTEBOOKS

pytestmark = [pytest.mark.full, pytest.mark.servers]


def test_replicas_share_the_work(checkpoint: Path, tmp_path: Path) -> None:
    """Two real servers behind the real router."""
    small = {"concurrency": [1, 2], "input_tokens": 32, "output_tokens": 16, "run_dir": str(tmp_path / "run")}
    notebook = prepared(NOTEBOOKS / "topics" / "scale_out.ipynb", tmp_path / "scale_out.ipynb", **small)
    done = nbval(notebook)
    assert done.returncode == 0, done.stdout[-4000:]
    assert {path.name for path in (tmp_path / "run").glob("server*.log")} >= {
        "server.log",
        "server-1.log",
        "server-router.log",
    }
