"""Replicas: several servers behind the real router, as one; each on its own devices, none taken for another."""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from helpers.errors import CookbookError, UsageError
from helpers.paths import ROOT
from helpers.recipes import check_parameters, load_model, load_target
from helpers.recipes.command import Command, serve_command
from helpers.recipes.command.replicas import router_words, visible
from helpers.runs.status import row_of
from helpers.server import free_port, leases, port_free
from helpers.server.replicas import launch_vllm
from tests.test_server_life import SCRIPT, quiet


@pytest.fixture(autouse=True)
def _health_servers(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path_factory.mktemp("stand-in"), monkeypatch)


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m vllm.entrypoints.cli.main` is a health server here; its mode stands where the weights do."""
    (folder / "vllm" / "entrypoints" / "cli").mkdir(parents=True)
    (folder / "vllm" / "entrypoints" / "cli" / "main.py").write_text(SCRIPT.read_text())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))


def own_leases() -> set[str]:
    """The servers that this process holds: another lane of the tests has its own."""
    return {lease.id for lease in leases() if any(owner.pid == os.getpid() for owner in lease.owners)}


def begin(folder: Path, *words: tuple[str, ...], port: int | None = None):
    port = port or free_port()
    commands = [Command(*more or ["plain"], "none", free_port()) for more in words]
    log = folder / "server.log"
    return launch_vllm(commands, Path(sys.executable), port=port, log=log, target="replicas", report=quiet)


@pytest.mark.real
def test_replicas_answer_at_one_address_and_stop_as_one(tmp_path: Path):
    before = own_leases()  # the session's shared server, where it runs already
    fleet = begin(tmp_path, ("named",), ("named",))
    try:
        ports = [server.lease.port for server in fleet.servers]
        ask = f"{fleet.base_url}/v1/completions"
        with ThreadPoolExecutor() as pool:
            answers = [pool.submit(httpx.post, ask, json={"model": "none", "prompt": "0.5"}) for _ in ports]
        assert sorted(one.result().text for one in answers) == sorted(map(str, ports)), (
            "one that is at work gets no second"
        )
        assert len({server.lease.id for server in fleet.servers}) == 2 and fleet.running() and not fleet.shared()
        assert {path.name for path in tmp_path.glob("*.log")} == {"server.log", "server-1.log", "server-router.log"}
        assert fleet.healthy()
        shown = [row_of(one.lease, datetime.now(UTC))["model"] for one in (fleet.router, *fleet.servers)]
        assert shown == ["none, the router", "none", "none"], "`cookbook status` says which address to use"
        os.kill(fleet.servers[1].lease.server.pid, signal.SIGSTOP)  # it lives, and answers nothing
        assert fleet.running() and not fleet.healthy()
        os.kill(fleet.servers[1].lease.server.pid, signal.SIGCONT)
        assert set(fleet.members()) >= {pid for server in fleet.servers for pid in server.members()}
    finally:
        fleet.stop()
    assert not fleet.members() and all(map(port_free, [*ports, fleet.lease.port]))
    assert own_leases() == before


@pytest.mark.real
def test_a_second_launch_attaches_to_the_same_replicas_and_router(tmp_path: Path):
    port = free_port()
    first = begin(tmp_path, (), (), port=port)
    try:
        second = begin(tmp_path, (), (), port=port)
        assert second.attached and second.router.attached
        assert [s.lease.id for s in second.servers] == [s.lease.id for s in first.servers]
    finally:
        first.stop()
    assert not first.members()


@pytest.mark.real
def test_one_replica_that_dies_at_start_takes_the_others_with_it(tmp_path: Path):
    before = own_leases()
    with pytest.raises(CookbookError, match="made of chalk"):
        begin(tmp_path, (), ("crash",))
    assert own_leases() == before
    assert not (tmp_path / "server-router.log").exists()


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path):
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UsageError, match="is taken"):
            begin(tmp_path, (), (), port=other.getsockname()[1])
    assert not (tmp_path / "server.log").exists()


DOCUMENTED = ("chat/completions", "completions", "responses", "messages", "messages/count_tokens", "embeddings")


@pytest.mark.real
def test_a_key_is_asked_for_and_passed_on_at_every_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_API_KEY", "canary-key")
    fleet = begin(tmp_path, ("named",), ("named",))
    body = {
        "model": "none",
        "prompt": "?",
        "input": "?",
        "messages": [{"role": "user", "content": "?"}],
        "max_tokens": 1,
    }

    def statuses(key: str | None) -> set[int]:
        options = {"headers": {"Authorization": f"Bearer {key}"} if key else {}, "timeout": 20}
        posts = [
            httpx.post(f"{fleet.base_url}/v1/{path}", json=body, **options)
            for path in DOCUMENTED
            for _ in fleet.servers
        ]
        gets = [
            httpx.get(fleet.base_url + path, **options)
            for path in ("/v1/models", "/health", "/metrics", "/list_workers")
        ]
        return {reply.status_code for reply in (*posts, *gets)}

    try:
        assert statuses("canary-key") == {200}
        assert statuses("another") == statuses(None) == {401}
        assert fleet.healthy()
        words = " ".join(fleet.lease.argv) + (tmp_path / "server-router.log").read_text()
        assert "canary" not in words, "neither the process list nor the log shows it"
        monkeypatch.delenv("VLLM_API_KEY")
        with pytest.raises(UsageError, match="is taken"):  # nobody without the key waits for a router that refuses them
            begin(tmp_path, ("named",), ("named",), port=fleet.lease.port)
    finally:
        fleet.stop()


def test_each_replica_sees_its_own_devices():
    target = load_target("h200")
    parameters = check_parameters(target, {"replicas": 2, "tensor_parallel_size": 2})
    assert [visible(target, parameters, n) for n in (0, 1)] == [
        {"CUDA_VISIBLE_DEVICES": "0,1"},
        {"CUDA_VISIBLE_DEVICES": "2,3"},
    ]
    assert visible(target, check_parameters(target, {}), 0) == {}, "a single copy sees what the user lets it see"
    assert visible(load_target("cpu"), check_parameters(load_target("cpu"), {"replicas": 2}), 1) == {}


def test_the_router_takes_the_words_it_is_given():
    from vllm_router.launch_router import parse_router_args

    parsed = parse_router_args(router_words([9001, 9002], 9000, 9003))
    assert (parsed.host, parsed.port, parsed.policy) == ("127.0.0.1", 9000, "cache_aware")
    assert parsed.worker_urls == ["http://127.0.0.1:9001", "http://127.0.0.1:9002"]
    assert (parsed.prometheus_host, parsed.prometheus_port) == ("127.0.0.1", 9003)
    assert parsed.disable_retries, "what ended one replica is not sent to the next"
    assert (parsed.health_check_interval_secs, parsed.health_failure_threshold, parsed.health_success_threshold) == (
        2,
        2,
        1,
    )


def test_a_run_launches_as_many_servers_as_it_records(tmp_path: Path):
    from helpers.server.serving import Serving

    target, model = load_target("h200"), load_model("gpt-oss-120b")
    parameters = check_parameters(target, {"replicas": 3, "port": 8123})
    serving = Serving(target, parameters, model)
    commands = serving.replicas(serving.command("", 8123))
    assert [command.env["CUDA_VISIBLE_DEVICES"] for command in commands] == ["0", "1", "2"]
    for words, port in ((command.argv, command.port) for command in commands):
        assert words[words.index("--port") + 1] == str(port) != "8123"
    own = serve_command(target, model, parameters, model.hub_id, 8123)
    assert all(len(command.run_by("python")) == len(own.argv) + 2 for command in commands)
