"""The notebooks on endpoints and tools for real, against their committed contract lines, on one shared server."""

from pathlib import Path

import pytest
from test_cpu_notebook import nbval, prepared

from helpers.paths import NOTEBOOKS

TOPICS = ("endpoints", "function_calling", "builtin_tools")
TOPICS_OF_ALL = ("structured_output", "policy")  # by `make test-all`
pytestmark = pytest.mark.real


@pytest.mark.parametrize("topic", [*TOPICS, *(pytest.param(t, marks=pytest.mark.full) for t in TOPICS_OF_ALL)])
def test_contract_lines_hold(session, topic: str, tmp_path: Path) -> None:
    notebook = prepared(
        NOTEBOOKS / "topics" / f"{topic}.ipynb", tmp_path / f"{topic}.ipynb", run_dir=str(tmp_path / "run")
    )
    done = nbval(notebook)
    assert done.returncode == 0, done.stdout[-4000:]
    log = (tmp_path / "run" / "server.log").read_text(errors="replace")
    assert log, "the run has the log of the server it attached to"
    assert session.server.running(), "the notebook lets go of a server that others use"


def test_the_committed_table_of_support_is_what_the_server_does(session) -> None:
    """`recipes/responses_support.yaml` feeds pages: every row must be what this vLLM answers now."""
    from maintain.clients.responses_api import Surface
    from maintain.clients.support import differences

    assert differences(Surface(session.server.base_url, session.server.model).table()) == []
