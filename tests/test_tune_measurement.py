"""One configuration's measurement and its failures, on a process that stands for vLLM: started once, always stopped."""

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tune_parts import SMALL, point

from helpers.bench.tune import TuningPlan, measurement
from helpers.bench.tune.measurement import Bench
from helpers.bench.tune.plan import Proposal
from helpers.errors import CookbookError, UsageError
from helpers.paths import ROOT
from helpers.recipes.command.serve import Command
from helpers.server import free_port, leases, port_free

TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\nRuntimeError: the chalk broke\n'

pytestmark = pytest.mark.real


@pytest.fixture
def stand(tmp_path: Path, monkeypatch) -> SimpleNamespace:
    """A Bench whose `vllm` is a health server, and whose load client is a function of the test."""
    module = tmp_path / "vllm" / "entrypoints" / "cli"
    module.mkdir(parents=True)
    (module / "main.py").write_text((ROOT / "tests" / "health_server.py").read_text())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    worker = SimpleNamespace(process=SimpleNamespace(poll=lambda: None))
    monkeypatch.setattr(Bench, "worker", lambda self, folder: worker)
    said: list[str] = []
    bench = Bench(Path(sys.executable), "no-checkpoint", report=said.append)
    port, folder = free_port(), tmp_path / "study" / "one"
    plan = TuningPlan("cpu", "throughput", None, SMALL)

    def measured(sweep, *words: str):
        monkeypatch.setattr(measurement, "sweep", sweep)
        command = Command(*words or ["no-checkpoint"], "gpt-oss-nano", port, target="cpu")
        return bench(Proposal({}, command, 1), plan.loads(1), folder)

    yield SimpleNamespace(measured=measured, folder=folder, said=said, worker=worker)
    assert port_free(port) and not [lease for lease in leases() if lease.port == port], "nothing is left"


def server_of(stand) -> int:
    return next(lease.server.pid for lease in leases() if Path(lease.log).is_relative_to(stand.folder))


def test_a_sweep_on_one_start(stand) -> None:
    found = stand.measured(lambda *a, **k: [point(1, 100), point(2, 200)])
    assert found.cause == "" and [p.output_tok_s for p in found.points] == [100, 200]
    assert found.startup_s["total"] > 0 and any("ready after" in line for line in stand.said)


def test_a_start_that_fails_is_a_result(stand) -> None:
    found = stand.measured(lambda *a, **k: pytest.fail("there is no server"), "crash")
    assert found.cause == "ValueError: the weights are made of chalk" and found.points == []


def test_a_refused_request_is_a_result(stand) -> None:
    def sweep(*_, **__):
        raise CookbookError("the warm-up failed", "2 of 2 requests failed, the first with: too long")

    found = stand.measured(sweep)
    assert found.cause == "the warm-up failed because 2 of 2 requests failed, the first with: too long"


def test_a_server_that_dies_under_load_tells_its_own_cause(stand) -> None:
    def sweep(*_, **__):
        with (stand.folder / "server.log").open("a") as log:
            log.write(TRACEBACK)
        os.kill(pid := server_of(stand), signal.SIGKILL)
        while Path(f"/proc/{pid}/stat").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text():
            time.sleep(0.02)
        raise CookbookError("the sweep failed", "connection refused")

    assert stand.measured(sweep).cause == "RuntimeError: the chalk broke"


def test_a_dead_load_client_is_no_result(stand) -> None:
    """The configuration was fine: to record it as failed would rule it out for good."""

    def sweep(*_, **__):
        stand.worker.process.poll = lambda: 1
        raise CookbookError("the load client died", "exit status 1")

    with pytest.raises(CookbookError, match="the load client died"):
        stand.measured(sweep)


def test_a_port_that_is_taken_is_no_result(stand, monkeypatch) -> None:
    def taken(*_, **__):
        raise UsageError("port 8000 is taken")

    monkeypatch.setattr(measurement, "launch_vllm", taken)
    with pytest.raises(UsageError, match="is taken"):
        stand.measured(lambda *a, **k: [])


def test_an_interrupted_sweep_stops_its_server(stand) -> None:
    def sweep(*_, **__):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stand.measured(sweep)
