"""The notebooks on endpoints and tools for real, against their committed contract lines, on one shared server."""

from pathlib import Path

import pytest
from test_cpu_notebook import nbval, prepared

from helpers.paths import NOTEBOOKS

TOPICS = ("endpoints", "structured_output", "function_calling", "builtin_tools")
pytestmark = [pytest.mark.slow, pytest.mark.server]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """vLLM with both tool servers: the notebooks' own command, so that they attach to it."""
    from helpers.topics import Session

    run = Session("cpu", {"port": 0, "run_dir": str(tmp_path_factory.mktemp("topics"))})
    run.begin()
    yield run
    run.stop()


@pytest.mark.parametrize("topic", TOPICS)
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
    from helpers.topics.support import differences
    from helpers.topics.surface import Surface

    assert differences(Surface(session.server.base_url, session.server.model).table()) == []
