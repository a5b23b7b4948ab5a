"""Imports ahead of need."""

import subprocess
import sys

import pytest

from helpers.paths import ROOT
from helpers.runs.ahead import LATER, import_ahead


@pytest.mark.real
def test_what_is_named_is_there_afterwards() -> None:
    """In a fresh interpreter: a name that goes stale would cost its seconds again, in silence."""
    code = (
        "import sys; from helpers.runs.ahead import LATER, import_ahead\n"
        "assert 'pandas' not in sys.modules; import_ahead().join()\n"
        "print(*[name for name in LATER if name not in sys.modules], 'matplotlib.figure' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stdout + done.stderr
    assert len(LATER) == len(set(LATER))


def test_a_module_that_cannot_be_imported_is_left_to_who_needs_it(capsys) -> None:
    import_ahead(("helpers.no_such_module",)).join()
    assert capsys.readouterr().err == ""
