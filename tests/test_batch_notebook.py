"""The page on batches for real, on the server that the tests share."""

from pathlib import Path

import pytest
from test_cpu_notebook import nbval, prepared

from helpers.paths import NOTEBOOKS

pytestmark = pytest.mark.full


def test_a_batch_runs_and_resumes(server, tmp_path: Path) -> None:
    """Two rehearsals from one plan, twice: on the server that the tests share."""
    notebook = prepared(
        NOTEBOOKS / "topics" / "batch_runs.ipynb", tmp_path / "batch_runs.ipynb", run_dir=str(tmp_path / "run")
    )
    done = nbval(notebook)
    assert done.returncode == 0, done.stdout[-4000:]
    assert server.running()
