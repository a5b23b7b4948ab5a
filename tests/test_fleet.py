"""Replicas that stay behind the real router: one that is killed, a rolling restart under load, and the command that does it."""

import os
import signal
import sys
import threading
from pathlib import Path

import httpx
import pytest

from helpers.errors import CookbookError, UsageError
from helpers.server import free_port, leases, stop
from maintain.fleet.rolling import Router, drain, in_flight, roll
from maintain.fleet.serve import running
from tests.test_replicas import begin, stand_in
from tests.test_server_life import wait

pytestmark = pytest.mark.real
PATIENCE_S = 30.0  # of a busy machine


class Load:
    """Clients that ask one request after the other, without sending any again; what was answered, and what was not."""

    def __init__(self, base_url: str, clients: int = 4, seconds: float = 0.1):
        self.url, self.body = f"{base_url}/v1/completions", {"model": "none", "prompt": str(seconds)}
        self.answers: list[str] = []
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def _ask(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self.ended.is_set():
                try:
                    reply = client.post(self.url, json=self.body)
                    self.answers.append(reply.text if reply.status_code == 200 else f"HTTP {reply.status_code}")
                except httpx.HTTPError as error:
                    self.answers.append(type(error).__name__)

    def end(self) -> list[str]:
        self.ended.set()
        for thread in self.threads:
            thread.join(30)
        return self.answers


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory):
    """Two stand-ins behind the real router; the last test kills one."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in(tmp_path_factory.mktemp("stand-in"), patch)
        servers = begin(tmp_path_factory.mktemp("fleet"), ("named",), ("named",))
        yield servers
        servers.stop()


def test_a_fleet_is_found_by_the_port_of_its_router(fleet) -> None:
    found = running(fleet.lease.port)
    assert [server.lease.id for server in found.servers] == [server.lease.id for server in fleet.servers]
    assert found.healthy() and in_flight(found.servers[0].base_url) == 0 and drain(found.servers[0].base_url) < 2
    with pytest.raises(UsageError, match="runs no router on port"):
        running(fleet.servers[0].lease.port)
    with pytest.raises(UsageError, match="cannot be restarted one by one with 1 commands"):
        roll(found, fleet.commands[:1], Path(sys.executable))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cpu", "--roll", "-p", "port", "21999"), "the cookbook runs no router on port 21999"),
        (("cpu", "-p", "port", "0"), "port 0 is no address to come back to"),
        (("cpu", "--policy", "fair"), "unknown policy 'fair'"),
        (("cpu", "--replicas", "0"), "invalid value for '--replicas'"),
        (("h200", "--replicas", "9"), "replicas: given 9 of tensor_parallel_size 1"),
    ],
)
def test_what_serve_cannot_do_is_one_line(cli, words: tuple[str, ...], said: str) -> None:
    done = cli("serve", *words)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.full
def test_serve_and_roll_by_command(cli_process, checkpoint: Path, tmp_path: Path) -> None:
    """`cookbook serve --replicas 2`, `--roll`, `stop`: the real router in front of stand-ins for vLLM."""
    about = tmp_path / "vllm-0.32.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0\n")
    with pytest.MonkeyPatch.context() as patch:
        stand_in(tmp_path, patch)
        env = {"PYTHONPATH": os.environ["PYTHONPATH"]}
    (tmp_path / "vllm" / "__init__.py").touch()
    main = tmp_path / "vllm" / "entrypoints" / "cli" / "main.py"
    main.write_text("import sys\nsys.argv.append('named')\n" + main.read_text().split('"""', 2)[2])
    env |= {"COOKBOOK_PYTHON": sys.executable, "COOKBOOK_RUNS": str(tmp_path / "runs"), "VLLM_API_KEY": "canary-key"}
    port = str(free_port())
    words = ("-p", "port", port, "-p", "install", "existing", "-p", "weights", str(checkpoint))
    try:
        begun = cli_process("serve", "cpu", "--replicas", "2", "--middleware", *words, env=env)
        assert begun.returncode == 0 and f"http://127.0.0.1:{port}/v1" in begun.stdout, begun.stdout + begun.stderr
        first = {lease.port: lease.server.pid for lease in leases() if tmp_path in Path(lease.log).parents}
        rolled = cli_process("serve", "cpu", "--roll", "--middleware", *words, env=env)
        assert rolled.returncode == 0 and rolled.stdout.count("/add_worker?") == 2, rolled.stdout + rolled.stderr
        then = {lease.port: lease.server.pid for lease in leases() if tmp_path in Path(lease.log).parents}
        assert first.keys() == then.keys() and len(first) == 3
        assert [own for own in first if first[own] == then[own]] == [int(port)], (
            "the router stays, the replicas are new"
        )
        replicas = [lease for lease in leases() if tmp_path in Path(lease.log).parents and lease.port != int(port)]
        assert all("--middleware" in lease.argv for lease in replicas) and len(replicas) == 2
        assert "canary" not in begun.stdout + rolled.stdout
    finally:
        for lease in leases():
            if tmp_path in Path(lease.log).parents:
                stop(lease)


def test_a_rolling_restart_under_load_fails_no_request(fleet) -> None:
    ports = [server.lease.port for server in fleet.servers]
    pids = [server.lease.server.pid for server in fleet.servers]
    load, said, both = Load(fleet.base_url), [], {*map(str, ports)}
    try:
        assert wait(lambda: {*load.answers} == both, PATIENCE_S), load.answers
        roll(fleet, fleet.commands, Path(sys.executable), say=said.append)
        before = len(load.answers)
        assert wait(lambda: {*load.answers[before:]} >= both, PATIENCE_S), "both are in use again"
    finally:
        answers = load.end()
    assert {*answers} == both, "every request was answered by a replica"
    assert [server.lease.port for server in fleet.servers] == ports
    assert not {server.lease.server.pid for server in fleet.servers} & {*pids}
    assert [line.split()[1] for line in said] == ["0"] * 3 + ["1"] * 3
    assert len(list(fleet.log.parent.glob("*.log"))) == 3, "each goes on in its own log"


def test_a_replica_that_does_not_finish_is_put_back(fleet) -> None:
    slow = Load(fleet.base_url, 2, 4.0)
    assert wait(lambda: all(in_flight(server.base_url) == 1 for server in fleet.servers), PATIENCE_S)
    slow.ended.set()  # one request each
    pids = [server.lease.server.pid for server in fleet.servers]
    with pytest.raises(CookbookError, match="still has 1 requests after 1 s"):
        roll(fleet, fleet.commands, Path(sys.executable), say=lambda _: None, limit_s=1)
    assert Router(fleet.base_url).replicas() == sorted(server.base_url for server in fleet.servers)
    assert [server.lease.server.pid for server in fleet.servers] == pids and fleet.running()
    assert len(slow.end()) == 2 and all(answer.isdigit() for answer in slow.answers)


def test_one_that_is_killed_costs_its_own_requests_and_three_more_at_most(fleet) -> None:
    load = Load(fleet.base_url, clients=2, seconds=0.02)

    def failed() -> list[int]:
        return [number for number, answer in enumerate(load.answers) if not answer.isdigit()]

    try:
        assert wait(lambda: len(load.answers) > 2, PATIENCE_S)
        os.killpg(fleet.servers[1].lease.server.pid, signal.SIGKILL)
        left_out = lambda: failed() and len(load.answers) > failed()[-1] + 50  # noqa: E731
        assert wait(left_out, PATIENCE_S), "the router still asks it"
    finally:
        answers = load.end()
    assert 1 <= len(failed()) <= 4, answers
