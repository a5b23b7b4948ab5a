"""`restart on-failure`: a server that ends by itself comes back on its port, a few times an hour, with the cause on file."""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.machine.preflight import software
from helpers.processes import group_members, healthy
from helpers.recipes import check_parameters, load_target
from helpers.runs.status import row_of
from helpers.server import free_port, launch, lease, leases, port_free
from helpers.server.supervisor import RESTARTS, why
from tests.test_server_life import SCRIPT, begin, nothing_left, quiet, wait

DEATH = "RuntimeError: CPU Generator does not use offset"


def killed(server) -> None:
    """End the server's own process, as a crash does, once its supervisor has seen it answer."""
    time.sleep(0.5)
    os.kill(server.current.server.pid, signal.SIGKILL)


def back(server, times: int) -> bool:
    """Whether the server has been started anew so often and answers."""
    return wait(lambda: len(server.current.restarts) == times and server.healthy(), 20)


@pytest.mark.real
def test_a_server_that_ends_comes_back_and_says_why(tmp_path: Path):
    server = begin(tmp_path / "server.log", restart=True)
    first = server.lease.server
    old = server.members()
    with open(tmp_path / "server.log", "a") as log:
        log.write(f"(EngineCore pid=1) ERROR 11-27 03:00:00 [core.py:1] Traceback (most recent call last):\n{DEATH}\n")
    killed(server)
    try:
        assert back(server, 1) and server.running()
        assert server.current.server != first and not group_members(first) and not set(old) & set(server.members())
        (restart,) = server.current.restarts
        assert "S26" in restart.cause, "the doctor's word"
        assert "S26" in row_of(server.current, lease_time(server))["restarts"], "`cookbook status` shows it"
        second = begin(tmp_path / "server.log", port=server.lease.port, restart=True)
        assert second.attached, "a re-run attaches to what was started anew"
        second.stop()
    finally:
        server.stop()
    assert nothing_left(server)


def lease_time(server):
    from datetime import datetime

    return datetime.fromisoformat(server.lease.started)


@pytest.mark.real
def test_a_server_that_ends_too_often_is_given_up(tmp_path: Path):
    server = begin(tmp_path / "server.log", restart=True)
    for times in range(1, RESTARTS + 1):
        killed(server)
        assert back(server, times)
    killed(server)
    assert wait(lambda: nothing_left(server), 20), "its children, its lease and its port go"
    assert not server.running()


@pytest.mark.real
def test_a_server_that_does_not_come_up_again_is_given_up(tmp_path: Path):
    """It answered once; what is started in its place dies while starting, each time."""
    marker = tmp_path / "started"
    code = (
        f"import pathlib, runpy, sys; there = pathlib.Path({str(marker)!r}); sys.argv += ['crash'] * there.exists(); "
        f"there.touch(); runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    port = free_port()
    words = [sys.executable, "-c", code, "--port", str(port)]
    server = launch(words, {}, port=port, log=tmp_path / "s.log", target="t", model="none", report=quiet, restart=True)
    killed(server)
    assert wait(lambda: nothing_left(server), 20)
    assert (tmp_path / "s.log").read_text().count("ValueError: the weights") == RESTARTS


@pytest.mark.real
def test_without_the_word_it_stays_ended(tmp_path: Path):
    server = begin(tmp_path / "server.log")
    killed(server)
    assert wait(lambda: nothing_left(server), 20) and not healthy(server.lease.port)


def test_a_lease_of_before_is_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lease, "FOLDER", tmp_path)
    own = lease.Identity.of(os.getpid())
    kept = lease.Lease("x", own, own, 8000, "f", "log", "2026-01-01T00:00:00+00:00", "t", "m", [], [own])
    kept.write()
    text = kept.path.read_text()
    assert kept.restart is False and '"restarts": []' in text and lease.read(kept.path) == kept
    kept.path.write_text(text.replace('"restarts": [],', ""))
    assert [one.id for one in leases()] == ["x"]
    gone = lease.Identity(own.pid, own.start + 1)  # as another host's pid looks from here
    away = replace(kept, id="away", server=gone, supervisor=gone, host="of a checkout that hosts share")
    away.write()
    assert [one.id for one in leases()] == ["x"] and lease.reap() == [] and away.path.exists()
    assert software.leases(tmp_path) == ({8000: "m"}, [])
    assert port_free(free_port())


def test_a_log_that_cannot_be_read_ends_nothing(tmp_path: Path):
    assert why(str(tmp_path / "gone.log"), 0).startswith("the log could not be read")


def test_the_parameter_is_checked():
    target = load_target("cpu")
    assert check_parameters(target, {}).restart == "no"
    assert check_parameters(target, {"restart": "on-failure"}).restart == "on-failure"
    with pytest.raises(Exception, match="restart"):
        check_parameters(target, {"restart": "always"})
