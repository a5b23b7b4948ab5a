"""Drills on servers that answer wrongly, and on addresses that are a stranger's (loopback only)."""

import socket
import subprocess
import sys
import threading

import httpx
import pytest
from damage import ILL, Place, complaint, wait

drill = pytest.mark.drill
CHAT = "/v1/chat/completions"


@pytest.fixture
def ill(place: Place):
    """`ill(mode)`: the address of a server that misbehaves so, on loopback."""
    processes: list[subprocess.Popen] = []

    def start(mode: str) -> str:
        argv = [sys.executable, str(ILL), "--port", str(place.port), mode]
        processes.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        address = ("127.0.0.1", place.port)
        assert wait(lambda: socket.socket().connect_ex(address) == 0)
        return f"http://127.0.0.1:{place.port}"

    yield start
    for process in processes:
        process.kill(), process.wait()


@drill("`cookbook doctor --live` against a server that answers 500, closes mid-stream or speaks no HTTP")
@pytest.mark.parametrize("mode", ["e500", "garbage", "cut"])
def test_doctor_and_an_ill_server(ill, cli, mode: str, said) -> None:
    """no traceback, exit code 1 or 2, a line that says what is wrong"""
    done = cli("doctor", "--live", ill(mode))
    assert done.returncode in (1, 2), (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "✗" in line or line.startswith("cookbook: ")]
    said(lines[0])


@drill("an evaluation against an address where nothing listens, or that answers 500")
@pytest.mark.parametrize("mode", ["", "e500"])
def test_eval_and_an_ill_server(place: Place, ill, cli, mode: str, said, tmp_path) -> None:
    """refused before the first question, one clear line, exit code 1 or 2"""
    url = ill(mode) if mode else f"http://127.0.0.1:{place.port}"
    done = cli("eval", "cpu", "--eval", "nano-choice", "--examples", "2", "--base-url", url + "/v1",
               "--run-dir", str(tmp_path / "eval"))  # fmt: skip
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr, (done.stdout, done.stderr)
    said(next(line for line in done.stderr.splitlines() if line.startswith("cookbook: ")))


@drill("a client of a server that closes in the middle of a stream")
def test_stream_cut_off(ill) -> None:
    """the half answer is not taken for a whole one: reading it raises"""
    body = {"model": "gpt-oss-nano", "messages": [], "stream": True}
    url, seen = ill("cut"), []
    with pytest.raises(httpx.HTTPError), httpx.stream("POST", url + CHAT, json=body, timeout=10) as reply:
        seen.extend(reply.iter_lines())
    assert not any("[DONE]" in line for line in seen)


@drill("a run's client and a server that never answers")
def test_hanging_server(ill) -> None:
    """given up at the client's timeout, not for ever"""
    with pytest.raises(httpx.TimeoutException):
        httpx.get(ill("hang") + "/health", timeout=1)
    assert threading.active_count() < 50


@drill("`cookbook stop --port` on a port where a stranger's server listens")
def test_stop_and_a_stranger(place: Place, ill, cli, said) -> None:
    """refused with exit code 2, the stranger goes on"""
    url = ill("cut")
    said(complaint(cli("stop", "--port", str(place.port)), 2))
    assert httpx.get(url + "/health", timeout=5).status_code == 200
