"""Drills on servers that answer wrongly, and on addresses that are a stranger's (loopback only)."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import openai
import pytest
from damage import ILL, Place, children_of, command_of, complaint, wait

from helpers.bench.sweep import plan, sweep
from helpers.checks import streaming
from helpers.doctor.live import examine
from helpers.errors import CookbookError
from helpers.evals import preflight
from helpers.machine.stack import ensure
from helpers.paths import CACHE
from helpers.runs.evaluation import checked_plan
from helpers.runs.run import Run
from helpers.server.weights import build_nano
from helpers.tools import servers
from tests.tiers import STRETCH

drill = pytest.mark.drill
pytestmark = pytest.mark.real


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
@pytest.mark.parametrize(
    ("mode", "words"),
    [("e500", "500"), ("garbage", "illegal status line"), ("cut", "peer closed connection")],
    ids=["e500", "garbage", "cut"],
)
def test_doctor_and_an_ill_server(ill, cli_process, mode: str, words: str, said) -> None:
    """no traceback, exit code 1 or 2, a line that says what is wrong"""
    done = cli_process("doctor", "--live", ill(mode))
    assert done.returncode in (1, 2), (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    lines = [
        line.strip()
        for line in (done.stdout + done.stderr).splitlines()
        if "✗" in line or line.startswith("cookbook: ")
    ]
    said(next(line for line in lines if words in line))


@drill("an evaluation against an address where nothing listens, or that answers 500")
@pytest.mark.parametrize("mode", ["", "e500"], ids=["nothing listens", "e500"])
def test_eval_and_an_ill_server(place: Place, ill, cli_process, mode: str, said, tmp_path) -> None:
    """refused before the first question, one clear line, exit code 1 or 2"""
    url = ill(mode) if mode else f"http://127.0.0.1:{place.port}"
    done = cli_process(
        "eval",
        "cpu",
        "--eval",
        "nano-choice",
        "--examples",
        "2",
        "--base-url",
        url + "/v1",
        "--run-dir",
        str(tmp_path / "eval"),
    )
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr, (done.stdout, done.stderr)
    said(next(line for line in done.stderr.splitlines() if line.startswith("cookbook: ")))


def client_of(url: str):
    """The client that notebooks use, of a run that has this server."""
    return Run.client(SimpleNamespace(server=SimpleNamespace(base_url=url)))


def streamed(url: str) -> list:
    """A chat completion as the notebooks stream it."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return list(client_of(url).chat.completions.create(model="gpt-oss-nano", messages=[], **options))


@drill("a notebook's client and a server that closes in the middle of a stream")
def test_stream_cut_off(ill, said) -> None:
    """the half answer is not taken for a whole one: the client raises, it does not end as after a last chunk"""
    with pytest.raises((openai.APIError, httpx.HTTPError)) as caught:
        streamed(ill("cut"))
    said(f"{type(caught.value).__name__}: {caught.value}")


@drill("a notebook's client and a stream that ends in order, but before its last chunk")
def test_stream_ended_early(ill, said) -> None:
    """no error on the wire: the notebook's own check sees it, and its line says what is missing"""
    chunks = streamed(ill("short"))
    assert chunks and chunks[0].choices[0].delta.content == "half"
    with pytest.raises(CookbookError, match="usage last") as caught:
        streaming.chat(chunks).raise_if_broken()
    said(caught.value.line())


def examined(url: str, _: Path) -> str:
    with pytest.raises(CookbookError) as caught:
        examine(url, timeout=1)
    return caught.value.line()


def evaluated(url: str, _: Path) -> str:
    plan = checked_plan(target="cpu", model="gpt-oss-nano", weights="nano", evals=["nano-choice"], efforts=["low"])
    with pytest.raises(CookbookError) as caught:
        preflight(url + "/v1", plan).raise_if_failed()
    return caught.value.line()


def handshaken(url: str, _: Path) -> str:
    with pytest.raises(CookbookError) as caught:
        servers.check(url.removeprefix("http://"), seconds=1)
    return caught.value.line()


def swept(url: str, folder: Path) -> str:
    loads = plan([1], 16, 4)
    with pytest.raises(CookbookError) as caught:
        sweep(url, "gpt-oss-nano", build_nano(ensure("cpu"), CACHE / "models"), ensure("cpu"), loads, folder, stall_s=3)
    return caught.value.line()


@drill("each client of the product and a server that accepts and never answers")
@pytest.mark.parametrize(
    ("ask", "within"),
    [(examined, 10), (evaluated, 10), (handshaken, 10), pytest.param(swept, 400, marks=pytest.mark.full)],
    ids=["doctor", "eval", "tool servers", "sweep"],
)
def test_hanging_server(ill, ask, within: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said) -> None:
    """given up at its own timeout with one line, no process of its own left"""
    # the package has a function of that name
    monkeypatch.setattr("helpers.checks.served.PROBE_S", 1.0)
    url, before = ill("hang"), children_of(os.getpid())  # the session may have a load client
    began = time.monotonic()
    line = said(ask(url, tmp_path))
    assert time.monotonic() - began < within * float(os.environ.get(STRETCH) or 1), line
    new = {*children_of(os.getpid())} - {*before}
    assert not [pid for pid in new if "helpers.instack" in command_of(pid)]


@drill("a launch and a server that listens and never answers /health")
def test_hanging_launch(place: Place, said) -> None:
    """given up at the launch's timeout with one line, the server ends"""
    began = time.monotonic()
    with pytest.raises(CookbookError, match="was not ready after") as caught:
        place.launch("hang", script=ILL, timeout=1)
    assert time.monotonic() - began < 20 and said(caught.value.line())
    place.works()


@drill("`cookbook stop --port` on a port where a stranger's server listens")
def test_stop_and_a_stranger(place: Place, ill, cli_process, said) -> None:
    """refused with exit code 2, the stranger goes on"""
    url = ill("cut")
    said(complaint(cli_process("stop", "--port", str(place.port)), 2))
    assert httpx.get(url + "/health", timeout=5).status_code == 200
