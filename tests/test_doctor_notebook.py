"""The troubleshooting notebook against its committed contract lines, its real failing launch included."""

from pathlib import Path

import pytest
from test_cpu_notebook import nbval, prepared

from helpers.paths import NOTEBOOKS
from helpers.server import leases

NOTEBOOK = NOTEBOOKS / "topics" / "troubleshooting.ipynb"


@pytest.mark.full
def test_contract_lines_hold(interpreter: Path, tmp_path: Path) -> None:
    before = {lease.id for lease in leases()}
    done = nbval(prepared(NOTEBOOK, tmp_path / "troubleshooting.ipynb", break_a_launch=True))
    assert done.returncode == 0, done.stdout[-4000:]
    assert {lease.id for lease in leases()} <= before, "the launch that failed leaves nothing"
