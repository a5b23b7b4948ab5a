"""The page on batches for real: twelve runs side by side on two servers, killed in the middle, resumed."""

from pathlib import Path

import pytest
from test_cpu_notebook import nbval, prepared

from helpers.paths import NOTEBOOKS
from helpers.server import leases, stop

pytestmark = [pytest.mark.full, pytest.mark.servers]


def test_twelve_runs_are_killed_and_resumed(checkpoint: Path, tmp_path: Path) -> None:
    """Six pass and six fail on purpose; the contract on the page says what was kept and how many ran at once."""
    notebook = prepared(
        NOTEBOOKS / "topics" / "batch_runs.ipynb", tmp_path / "batch_runs.ipynb", run_dir=str(tmp_path / "run")
    )
    done = nbval(notebook)
    left = [lease for lease in leases() if tmp_path in Path(lease.log).parents]
    for lease in left:  # by a page that failed before its last cell: they hold 8 GiB, which other tests need
        stop(lease)
    assert done.returncode == 0, done.stdout[-4000:]
    assert not left, "its servers are stopped"
