"""What the tests share: the installed CPU stack, the tiny checkpoint, one vLLM server for the session."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import lanes
import pytest

from helpers.paths import CACHE, ROOT

SERVED = pytest.StashKey[contextlib.ExitStack]()  # what ends the shared server
if "PYTEST_XDIST_WORKER" in os.environ:  # vLLM binds its thread to the first core: all lanes' servers to the same one
    os.environ |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of .venv, whatever the user has installed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, and what shares the server together."""
    items[:] = lanes.in_order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """One lane of `pytest -n 2` for the tests that share the server."""
    return lanes.scheduler(config, log)


@pytest.fixture(scope="session")
def interpreter() -> Path:
    """The Python of the CPU stack, installed if it is not there."""
    from helpers.stack import ensure

    return ensure("cpu")


@pytest.fixture(scope="session")
def checkpoint(interpreter: Path) -> Path:
    """gpt-oss-nano in BF16."""
    from helpers.runs.weights import build_nano

    return build_nano(interpreter, CACHE / "models")


@pytest.fixture(scope="session")
def server(
    interpreter: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator:
    """One vLLM server with the CPU recipe's own command: notebooks that run beside it attach to it."""
    from helpers.bench.worker import SHARED, start_shared
    from helpers.runs.run import Run

    folder = tmp_path_factory.mktemp("session-server")
    run = Run("cpu", {"run_dir": str(folder), "port": 0})
    run.install()
    run.weights()
    with pytest.MonkeyPatch.context() as patch:
        # One load client for the session: its import costs 25 CPU-seconds, the notebooks' sweeps share it.
        patch.setenv(SHARED, str(folder / "load.socket"))
        load = start_shared(run.interpreter, folder / "load.socket", folder / "load.log", wait=False)
        try:
            with contextlib.ExitStack() as served:
                server = run.launch()
                served.callback(server.stop)
                pytestconfig.stash[SERVED] = served
                yield server
        finally:
            load.stdin.close()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the shared server after the last test of its lane: 4 GiB for those that start their own."""
    done = nextitem is None or lanes.of(item) == lanes.SERVER != lanes.of(nextitem)
    if done and (served := item.config.stash.get(SERVED, None)):
        served.close()


@pytest.fixture
def client(server):
    """An OpenAI client for the shared server."""
    from openai import OpenAI

    return OpenAI(base_url=server.base_url + "/v1", api_key="none", timeout=120, max_retries=0)


@pytest.fixture(autouse=True, scope="session")
def _own_leases(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing that the tests start may be left when they end: the reaper's word at the very end."""
    yield
    from helpers.server import leases

    left = [lease for lease in leases() if any(owner.pid == os.getpid() for owner in lease.owners)]
    assert not left, f"servers left by the tests: {left}"


def cookbook(*words: str, env: dict[str, str] | None = None, timeout: float = 60):
    """Run the command line as a user does; returns the finished process."""
    import subprocess

    return subprocess.run(
        [sys.executable, "-m", "helpers.cli", *words], capture_output=True, text=True, cwd=ROOT,
        env=os.environ | (env or {}), timeout=timeout,
    )  # fmt: skip


@pytest.fixture(scope="session")
def cli():
    """`cli("run", "cpu")`: the finished process of the command line."""
    return cookbook
