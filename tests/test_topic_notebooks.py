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


def test_a_batch_runs_and_resumes(server, tmp_path: Path) -> None:
    """Two rehearsals from one plan, twice: on the server that the tests share."""
    notebook = prepared(
        NOTEBOOKS / "topics" / "batch_runs.ipynb", tmp_path / "batch_runs.ipynb", run_dir=str(tmp_path / "run")
    )
    done = nbval(notebook)
    assert done.returncode == 0, done.stdout[-4000:]
    assert server.running()


def test_replicas_share_the_work(checkpoint: Path, tmp_path: Path) -> None:
    """Two real servers behind the real router."""
    small = {"concurrency": [1, 2], "input_tokens": 32, "output_tokens": 16, "run_dir": str(tmp_path / "run")}
    notebook = prepared(NOTEBOOKS / "topics" / "scale_out.ipynb", tmp_path / "scale_out.ipynb", **small)
    done = nbval(notebook)
    assert done.returncode == 0, done.stdout[-4000:]
    assert {path.name for path in (tmp_path / "run").glob("server*.log")} >= {"server.log", "server-1.log", "server-router.log"}
