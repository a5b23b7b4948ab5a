"""What the tests share: the installed CPU stack, the tiny checkpoint, one vLLM server for the session."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def own_leases(worker: str) -> None:
    """Give one of several workers a cache of its own with the same models: it must not attach to another's server."""
    shared = Path(os.environ.get("COOKBOOK_CACHE") or Path(__file__).parent / ".cache")
    own = shared / "workers" / worker
    own.mkdir(parents=True, exist_ok=True)
    for name in ("models", "evals", "clients"):
        (shared / name).mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (own / name).symlink_to(shared / name)
    os.environ["COOKBOOK_CACHE"] = str(own)


if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    own_leases(worker)  # before the next import reads it

from helpers.paths import CACHE, ROOT  # noqa: E402

sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # nbformat's import: a second for grammars of IRIs
os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of .venv, whatever the user has installed
pytest_plugins = ["tiers"]
SERVED = pytest.StashKey[contextlib.ExitStack]()  # what ends the shared server


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the shared server now where a selected test asks for it: the quick tests come first.

    One of several workers starts it as its first test asks for it.
    """
    ended = session.config.stash[SERVED] = contextlib.ExitStack()
    asked = any("session" in getattr(item, "fixturenames", ()) for item in session.items)
    if not asked or session.config.option.collectonly or hasattr(session.config, "workerinput"):
        return
    folder = ended.enter_context(tempfile.TemporaryDirectory(prefix="cookbook-tests-"))
    argv = [sys.executable, str(ROOT / "tests" / "served_ahead.py"), folder]
    with open(Path(folder) / "ahead.log", "w") as log:
        ahead = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=ROOT)
    ended.callback(ahead.wait, 60)
    ended.callback(ahead.stdin.close)
    session.config.add_cleanup(ended.close)


@pytest.fixture(scope="session")
def interpreter() -> Path:
    """The Python of the CPU stack, installed if it is not there."""
    from helpers.machine.stack import ensure

    return ensure("cpu")


@pytest.fixture(scope="session")
def checkpoint(interpreter: Path) -> Path:
    """gpt-oss-nano in BF16."""
    from helpers.server.weights import build_nano

    return build_nano(interpreter, CACHE / "models")


@pytest.fixture(scope="session")
def session(
    interpreter: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator:
    """One vLLM with both tool servers and the CPU recipe's own command: notebooks that run beside it attach to it."""
    from helpers.bench.worker import CLIENT
    from helpers.runs.run import Run
    from tests.shared_load import client_words, start_shared

    folder = tmp_path_factory.mktemp("session-server")
    run = Run("cpu", {"run_dir": str(folder), "port": 0})
    run.install()
    run.weights()
    with pytest.MonkeyPatch.context() as patch:
        # One load client for the session: its import costs 25 CPU-seconds, the notebooks' sweeps share it.
        load = start_shared(run.interpreter, folder / "load.socket", folder / "load.log")
        patch.setenv(CLIENT, client_words(folder / "load.socket"))
        try:
            with contextlib.ExitStack() as served:
                served.callback(run.tools().stop)
                served.callback(run.launch().stop)
                pytestconfig.stash[SERVED].push(served.pop_all())
                yield run
        finally:
            load.stdin.close()


@pytest.fixture(scope="session")
def server(session):
    """The vLLM server of the session."""
    return session.server


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the shared server after the last test that uses it: 4 GiB for those that start their own."""
    last = "session" in item.fixturenames and (nextitem is None or "session" not in nextitem.fixturenames)
    if last and (served := item.config.stash.get(SERVED, None)):
        served.close()


@pytest.fixture
def client(server):
    """An OpenAI client for the shared server."""
    from openai import OpenAI

    return OpenAI(base_url=server.base_url + "/v1", api_key="none", timeout=120, max_retries=0)


@pytest.fixture(autouse=True, scope="session")
def _own_leases(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing that the tests start may be left when they end: the reaper's word at the very end."""
    yield
    if served := pytestconfig.stash.get(SERVED, None):  # its last user was the last test of all
        served.close()
    from helpers.server import leases

    left = [lease for lease in leases() if any(owner.pid == os.getpid() for owner in lease.owners)]
    assert not left, f"servers left by the tests: {left}"


@pytest.fixture(scope="session")
def cli_process():
    """`cli_process("run", "cpu", env=..., timeout=...)`: the command line as a user runs it; the finished process."""

    def run(*words: str, env: dict[str, str] | None = None, timeout: float = 60) -> subprocess.CompletedProcess:
        argv = [sys.executable, "-m", "helpers.cli", *words]
        environment = os.environ | (env or {})
        return subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=timeout)

    return run


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch):
    """`cli("targets")`: the same command line in this process, which spares its imports; the result has the same fields."""

    def run(*words: str) -> subprocess.CompletedProcess:
        from helpers.cli import main

        monkeypatch.setattr(sys, "argv", ["cookbook", *words])
        monkeypatch.chdir(ROOT)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as left:
            main()
        return subprocess.CompletedProcess(sys.argv, left.value.code or 0, out.getvalue(), err.getvalue())

    return run
