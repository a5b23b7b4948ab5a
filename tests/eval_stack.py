"""The fixture of the evaluations' stack, shared by the tests that ask the reference library."""

from pathlib import Path

import pytest

from helpers.errors import CookbookError


@pytest.fixture(scope="session")
def scorer() -> Path:
    """The Python of the evaluations' stack; where the machine has no Python 3.12, the tests say what is missing."""
    from helpers.machine.stack import ensure

    try:
        return ensure("evals", report=lambda line: None)
    except CookbookError as error:
        if "needs Python" in error.what:
            pytest.skip(error.line())
        raise
