"""The panel beside real processes: a server outlives the kernel that started it and is found again; Stop ends what it names."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.machine.preflight import Machine
from helpers.panel import live
from helpers.panel.serve import ServeTab
from helpers.paths import ROOT
from helpers.server import free_port, launch, leases, port_free, stop
from tests.test_server_life import argv, quiet

pytestmark = pytest.mark.real
KERNEL = """
import sys
from pathlib import Path
from tests.test_server_life import begin
print(begin(Path(sys.argv[1]), *sys.argv[2:], kept=True).lease.id)
"""


@pytest.fixture
def tab() -> Iterator[ServeTab]:
    """The first tab; its own thread is ended, each look is taken by the test."""
    found = ServeTab(Machine(cpu="a processor", cores=2, memory_gib=24.0))
    found.ended.set()
    yield found


def kernel(log: Path, *words: str) -> str:
    """Start a server as the panel does, from a process that then ends; its lease's id."""
    started = [sys.executable, "-c", KERNEL, str(log), *words]
    return subprocess.run(started, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_a_server_is_found_after_its_kernel_ended_and_stopped(tab: ServeTab, tmp_path: Path) -> None:
    identity = kernel(tmp_path / "server.log")
    lease = live.running()
    assert lease and lease.id == identity, "it goes on, and it is the newest"
    tab.look_at(lease)
    assert "ready: none answers" in tab.status.value and "<b>2</b>running" in tab.gauges.value
    assert "a test server" in tab.tail.value and not tab.buttons["Stop"].disabled
    tab.do("Stop")
    assert "stopped: port" in tab.status.value and port_free(lease.port)
    tab.look_at(live.running())
    assert tab.lease is None or tab.lease.id != identity


def test_a_start_under_way_shows_its_phases(tab: ServeTab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "page", lambda lease: "")  # as long as it does not answer
    kernel(tmp_path / "server.log")
    lease = live.running()
    try:
        tab.expected = 30.0
        tab.look_at(lease)
        assert "of about 30 s" in tab.status.value and "▸ arguments" in tab.status.value
    finally:
        stop(lease)


def test_stop_ends_the_tool_servers_that_nobody_else_uses(tmp_path: Path) -> None:
    def begin(name: str, *words: str):
        port = free_port()
        options = {"port": port, "log": tmp_path / f"{name}.log", "target": "test", "model": name, "report": quiet}
        return launch(argv(port, *words), {}, **options)

    own, shared = begin("own tool", "own"), begin("shared tool", "shared")
    names = [f"127.0.0.1:{one.lease.port}" for one in (own, shared)]
    other = begin("other", names[1])
    server = begin("server", ",".join(names))
    try:
        told = live.stop_all(server.lease)
        assert "own tool: stopped" in told and "shared" not in told
        assert own.lease.id not in {lease.id for lease in leases()} and shared.running()
    finally:
        live.stop_all(other.lease)
    assert not shared.running(), "its last user is gone"
