"""A record keeps the commands that were launched: what a process was started with, never a second rendering."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.recipes.command.serve import vllm
from helpers.records.record import RunRecord
from helpers.runs.evaluation import EvalRun
from helpers.runs.run import Run
from helpers.server import Identity, replicas
from helpers.server.launch import Server
from helpers.server.lease import Lease
from helpers.tools.servers import ToolServers

PYTHON = "/opt/stack/bin/python"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """(argv, env) of every process that a launch would have started."""
    processes: list[tuple[list[str], dict[str, str]]] = []

    def launch(argv, env, *, port, log, target, model, **_) -> Server:
        processes.append((list(argv), dict(env)))
        me = Identity(1, 1)
        lease = Lease("x", me, me, port, "f" * 16, str(log), datetime.now(UTC).isoformat(), target, model, list(argv))
        return Server(lease, log, False, {"total": 1.0}, me)

    monkeypatch.setattr(replicas, "launch", launch)
    return processes


def ready(target: str, folder: Path, **given) -> Run:
    """A run whose stack and weights are there."""
    run = Run(target, {**given, "run_dir": str(folder), "port": 8123})
    run.interpreter, run.versions = Path(PYTHON), {"vllm": "0.32.0"}
    run.checkpoints = dict.fromkeys([run.speaking, run.measured], "openai/gpt-oss-20b")
    run.load_client = lambda: None
    return run


def test_a_run_with_tools_records_the_tool_servers(tmp_path: Path, started) -> None:
    run = ready("cpu", tmp_path)
    run.tool_servers = ToolServers({"python": SimpleNamespace(lease=SimpleNamespace(port=7001))})
    run.launch()
    record = RunRecord.read(tmp_path / "record.json")
    ((argv, env),) = started
    assert record.argv[record.argv.index("--tool-server") + 1] == "127.0.0.1:7001"
    assert argv == [*vllm(PYTHON), *record.argv[1:]] and env == record.env
    assert "VLLM_GPT_OSS_SYSTEM_TOOL_MCP_LABELS" in record.env and record.servers == []
    assert run.command.argv == record.argv, "the page shows the command that is launched"


def test_a_run_with_replicas_records_every_command_that_ran(tmp_path: Path, started) -> None:
    run = ready("h200", tmp_path, replicas=2)
    run.launch()
    record = RunRecord.read(tmp_path / "record.json")
    *servers, router = record.servers
    assert [[*vllm(PYTHON), *one.argv[1:]] for one in servers] == [argv for argv, _ in sorted(started[:-1], key=gpu)]
    assert [one.env["CUDA_VISIBLE_DEVICES"] for one in servers] == ["0", "1"]
    assert (record.argv, record.env) == (servers[0].argv, servers[0].env)
    ports = [one.argv[one.argv.index("--port") + 1] for one in record.servers]
    assert len(set(ports)) == 3 and ports[-1] == "8123"
    assert router.argv[1:] == started[-1][0][1:] and f"http://127.0.0.1:{ports[1]}" in router.argv


def gpu(process: tuple[list[str], dict[str, str]]) -> str:
    return process[1]["CUDA_VISIBLE_DEVICES"]


def test_what_does_not_start_is_on_record_too(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(replicas, "launch", lambda *_, **__: 1 / 0)
    run = ready("cpu", tmp_path)
    with pytest.raises(ZeroDivisionError):
        run.launch()
    record = RunRecord.read(tmp_path / "record.json")
    assert record.state == "failed" and record.argv[:2] == ["vllm", "serve"] and record.startup_s == {}


def test_a_run_that_attaches_records_the_port_of_the_server_that_answers(tmp_path: Path, started, monkeypatch) -> None:
    own = replicas.launch
    monkeypatch.setattr(replicas, "launch", lambda *words, port, **about: own(*words, port=9999, **about))
    run = ready("cpu", tmp_path)
    run.launch()
    assert run.record().argv[3:5] == ["--port", "9999"]


def test_an_evaluation_records_what_it_launched(tmp_path: Path, started, monkeypatch) -> None:
    monkeypatch.setattr("helpers.server.weights.checkpoint", lambda *_: "openai/gpt-oss-20b")
    monkeypatch.setattr("helpers.machine.stack.ensure", lambda *_: Path(PYTHON))
    run = EvalRun("cpu")
    run.serve(report=lambda *_: None)
    ((argv, env),) = started
    assert argv == [*vllm(PYTHON), *run.record().argv[1:]] and env == run.record().env


@pytest.mark.real
def test_the_record_of_a_real_server_is_its_process(session) -> None:
    record = session.record()
    assert "--tool-server" in record.argv
    assert session.server.lease.argv[3:] == record.argv[1:]
