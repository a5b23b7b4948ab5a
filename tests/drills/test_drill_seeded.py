"""Drills on the seeded requests that end a CPU server as vLLM comes: with the recipe's remedy, without it, and what is told."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from damage import Place, wait
from test_drill_requests import serves_on

from benchmarks.seeded_prompts import without_limit
from helpers.paths import CACHE, ROOT
from helpers.server import leases, port_free

drill = pytest.mark.drill
pytestmark = pytest.mark.real
LONG, SHORT, AT_ONCE = 7_500, 400, 40  # tokens, tokens, requests
KILLERS = {"one long prompt": (1, LONG), "forty at once": (AT_ONCE, SHORT)}  # requests, tokens of each


def bodies(model: str, many: int, tokens: int) -> list[dict]:
    """Seeded requests above temperature 0; no prompt begins as another, so that none is cached."""
    ids = [[1_000 + number, *range(2_000, 2_000 + tokens - 1)] for number in range(many)]
    return [
        {"model": model, "prompt": prompt, "max_tokens": 12, "temperature": 1.0, "seed": 7 + number, "ignore_eos": True}
        for number, prompt in enumerate(ids)
    ]


def answers(server, many: int, tokens: int) -> list[str]:
    """What the server answers to all of them at once; "error: ..." for a request that fails."""

    async def ask_all() -> list[str]:
        limits = httpx.Limits(max_connections=2 * AT_ONCE)
        async with httpx.AsyncClient(base_url=server.base_url, timeout=540, limits=limits) as client:

            async def ask(body: dict) -> str:
                try:
                    reply = await client.post("/v1/completions", json=body)
                    return (
                        reply.json()["choices"][0]["text"]
                        if reply.status_code == 200
                        else f"error: {reply.status_code}"
                    )
                except httpx.HTTPError as error:
                    return f"error: {type(error).__name__}"

            return await asyncio.gather(*map(ask, bodies(server.model, many, tokens)))

    return asyncio.run(ask_all())


@drill("seeded requests whose prompts do not fit into one step of vLLM's own size")
@pytest.mark.parametrize("kind", KILLERS)
def test_seeded_prompts(server, kind: str, said) -> None:
    """every one is answered, the same seeds get the same answers again, the server's next answer comes"""
    first = answers(server, *KILLERS[kind])
    assert not [text for text in first if text.startswith("error")]
    assert answers(server, *KILLERS[kind]) == first
    serves_on(server)
    said(f"{len(first)} of {len(first)} answered, and the same again")


@pytest.fixture
def bare_server(place: Place, interpreter, checkpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """A real server of the CPU recipe without the known limit: chunked prefill, a step of vLLM's own size."""
    from helpers.runs import run as run_module

    load = run_module.load_target
    monkeypatch.setattr(run_module, "load_target", lambda name: without_limit(load(name)))
    run = run_module.Run("cpu", {"run_dir": str(place.folder / "run"), "port": place.port})
    run.install()
    run.weights()
    run.load_client = lambda: None  # nothing is measured here; its import costs 25 CPU-seconds
    server = run.launch()
    assert "--no-enable-chunked-prefill" not in server.lease.argv
    yield server


@pytest.mark.full
@drill("the same requests to a server without the recipe's remedy")
@pytest.mark.parametrize("kind", KILLERS)
def test_seeded_prompts_without_the_remedy(place: Place, bare_server, kind: str, cli_process, said) -> None:
    """the engine ends, the port is free, the doctor names the cause and the flag; where this fails, the limit can go"""
    found = answers(bare_server, *KILLERS[kind])
    assert [text for text in found if text.startswith("error")], "this vLLM no longer ends"
    assert wait(lambda: not bare_server.members() and port_free(place.port), 90)
    done = cli_process("doctor", str(bare_server.log), timeout=120)
    assert done.returncode == 1 and "--no-enable-chunked-prefill" in done.stdout, done.stdout
    said(next(line for line in done.stdout.splitlines() if line.startswith("S26 ")))
    place.assert_nothing_left()


@pytest.mark.full
@drill("SIGKILL to the engine in the middle of `cookbook nano eval`")
def test_nano_eval_keeps_the_log(place: Place, interpreter, checkpoint, cli_process, said) -> None:
    """one line says why and names a log that is still there, the doctor reads it, nothing is left"""
    place.cache.mkdir(exist_ok=True)
    (place.cache / "models").symlink_to(CACHE / "models")
    env = os.environ | {"COOKBOOK_RUNS": str(place.folder / "runs")}
    words = [sys.executable, "-m", "helpers.cli", "nano", "eval", "--skill", "domain", "--no-sampling"]
    process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        asked = lambda: any(map(_answers, place.folder.glob("runs/**/server.log")))  # noqa: E731
        assert wait(lambda: process.poll() is not None or asked(), 540) and process.poll() is None, (
            "no request was answered"
        )
        (lease,) = [lease for lease in leases() if lease.model == "gpt-oss-nano"]
        engine = next(p for p in psutil.Process(lease.server.pid).children(True) if p.name() == "VLLM::EngineCore")
        os.kill(engine.pid, signal.SIGKILL)
        _, complaint = process.communicate(timeout=180)
    finally:
        process.kill()
    line = said(next(row for row in complaint.splitlines() if row.startswith("cookbook: ")))
    log = re.search(r"`cookbook doctor (\S+)`", line)
    assert process.returncode == 1 and log and Path(log[1]).exists(), complaint[-2000:]
    assert "Traceback" not in complaint
    assert cli_process("doctor", log[1], timeout=120).returncode == 1
    place.assert_nothing_left()


def _answers(log: Path) -> bool:
    """Whether the log tells of an answered request."""
    return b"chat/completions" in log.read_bytes()
