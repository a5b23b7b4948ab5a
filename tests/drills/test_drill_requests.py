"""Drills on requests that a server should survive, and on the real server's own processes being killed."""

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import Iterator

import httpx
import psutil
import pytest
from damage import Place, wait

from helpers.server import port_free

drill = pytest.mark.drill
pytestmark = pytest.mark.real
CHAT = "/v1/chat/completions"
TEN_MB = 10_000_000
AT_ONCE = 1_000
LONG = {"stream": True, "max_tokens": 7_000, "ignore_eos": True}  # it runs until it is ended


def post(server, path: str = CHAT, timeout: float = 120, **body) -> httpx.Response:
    """A small request to the server."""
    whole = {"model": server.model, "messages": [{"role": "user", "content": "What is 2 + 2?"}], "temperature": 0}
    return httpx.post(server.base_url + path, json=whole | {"max_tokens": 4} | body, timeout=timeout)


def refusal(reply: httpx.Response) -> str:
    """The words of a refused request."""
    assert 400 <= reply.status_code < 500, (reply.status_code, reply.text[:300])
    content = reply.json()
    return content["error"]["message"] if "error" in content else str(content["detail"])


def metric(server, name: str) -> float:
    """A metric of the server, summed over its engines."""
    text = httpx.get(server.base_url + "/metrics", timeout=60).text
    values = re.findall(rf"^vllm:{name}\{{[^}}]*\}} ([\d.e+-]+)$", text, re.MULTILINE)
    assert values, f"the server has no metric {name}"
    return sum(map(float, values))


def serves_on(server) -> None:
    """The next request is answered, and nothing of the earlier ones is left in the engine."""
    assert post(server).json()["usage"]["completion_tokens"] > 0
    idle = lambda: metric(server, "num_requests_running") == metric(server, "num_requests_waiting") == 0  # noqa: E731
    assert wait(idle, 60), "requests are left in the engine"
    assert server.running()


@drill("a request of 10 MB")
@pytest.mark.parametrize("path", [CHAT, pytest.param("/v1/responses", marks=pytest.mark.full)])
def test_request_of_ten_megabytes(server, path: str, said) -> None:
    """refused in words with status 400, the server's next answer comes"""
    text = "word " * (TEN_MB // 5)
    body = {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"input": text}
    reply = httpx.post(server.base_url + path, json={"model": server.model} | body, timeout=180)
    assert "8192" in said(refusal(reply))
    serves_on(server)


CUT_OFF = b'{"model": "gpt-oss-nano", "messages": [{"role": "us'
INVALID = {
    "cut off": CUT_OFF,
    "nothing": b"",
    "no JSON": b"\x00\xff\xfe no JSON",
    "a list": b"[1, 2, 3]",
    "wrong types": b'{"model": "gpt-oss-nano", "messages": {"role": 3}, "max_tokens": "many"}',
    "a lone surrogate": b'{"model": "gpt-oss-nano", "messages": [{"role": "user", "content": "\\ud800"}], "max_tokens": 4}',
    "nested too deep": b'{"model": "gpt-oss-nano", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "numbers out of range": b'{"model": "gpt-oss-nano", "messages": [{"role": "user", "content": "a"}], "max_tokens": -1e400}',
}


@drill("a body that is no valid request")
@pytest.mark.parametrize("kind", INVALID)
def test_invalid_json(server, kind: str, said) -> None:
    """refused in words with a status below 500, the server's next answer comes"""
    headers = {"Content-Type": "application/json"}
    reply = httpx.post(server.base_url + CHAT, content=INVALID[kind], headers=headers, timeout=60)
    said(" ".join(refusal(reply).split()))
    serves_on(server)


@drill("a body whose length is announced and which never comes to its end")
def test_half_a_body(server, said) -> None:
    """others are answered while it waits, and after it has gone"""
    address = ("127.0.0.1", server.lease.port)
    with socket.create_connection(address, timeout=10) as half:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {TEN_MB}\r\n\r\n"
        half.sendall(head.encode() + CUT_OFF)
        assert post(server).status_code == 200
    serves_on(server)
    said("the others' requests are answered with 200")


@drill("a client that never reads its stream")
def test_unread_stream(server, said) -> None:
    """others are answered meanwhile, and when it goes the engine ends its request"""
    messages = [{"role": "user", "content": "What is 2 + 2?"}]
    body = json.dumps({"model": server.model, "messages": messages} | LONG).encode()
    before = metric(server, "generation_tokens_total")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", server.lease.port))
        head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        deaf.sendall(head.encode() + body)
        assert wait(lambda: metric(server, "num_requests_running") == 1, 30), "the request runs"
        assert post(server).status_code == 200, "others are answered"
        assert metric(server, "num_requests_running") == 1, "it still runs"
    serves_on(server)
    made = metric(server, "generation_tokens_total") - before
    assert made < LONG["max_tokens"], "the request went on to its own end"
    said("the next request is answered, the abandoned one was ended before its last token")


@drill("a client that goes away in the middle of its answer")
def test_client_goes_away(server, said) -> None:
    """the engine ends its request"""
    body = {"model": server.model, "messages": [{"role": "user", "content": "What is 2 + 2?"}]} | LONG
    before = metric(server, "generation_tokens_total")
    with httpx.stream("POST", server.base_url + CHAT, json=body, timeout=60) as reply:
        lines = reply.iter_lines()
        assert next(lines).startswith("data: ")
        assert wait(lambda: metric(server, "num_requests_running") == 1), "the request runs"
    serves_on(server)
    assert metric(server, "generation_tokens_total") - before < LONG["max_tokens"], "it went on to its own end"
    said("the next request is answered, the abandoned one was ended before its last token")


@pytest.mark.full
@drill(f"{AT_ONCE:,} requests at once against a server of a few cores")
def test_a_thousand_requests_at_once(server, said) -> None:
    """every one is answered, none with an error, and nothing of them is left in the engine"""

    async def ask_all() -> list[tuple[int, int]]:
        limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=server.base_url, timeout=540, limits=limits) as client:

            async def ask(number: int) -> tuple[int, int]:
                messages = [{"role": "user", "content": f"What is {number} + 2?"}]
                body = {"model": server.model, "messages": messages, "max_tokens": 2, "temperature": 0}
                reply = await client.post(CHAT, json=body)
                return reply.status_code, reply.json()["usage"]["completion_tokens"]

            return await asyncio.gather(*(ask(number) for number in range(AT_ONCE)))

    replies = asyncio.run(ask_all())
    assert replies == [(200, 2)] * AT_ONCE
    serves_on(server)
    said(f"{len(replies):,} answers with status 200")


@pytest.fixture
def own_server(place: Place, interpreter, checkpoint, request: pytest.FixtureRequest) -> Iterator:
    """A real vLLM server of the drill's own: the CPU recipe's command, leases in the drill's corner.

    Workers are processes of their own with tensor parallelism only; one alone runs inside the engine's.
    """
    from helpers.runs.run import Run

    size = 2 if request.node.callspec.params["name"] == "VLLM::Worker" else 1
    run = Run("cpu", {"run_dir": str(place.folder / "run"), "port": place.port, "tensor_parallel_size": size})
    run.install()
    run.weights()
    run.load_client = lambda: None  # nothing is measured here; its import costs 25 CPU-seconds
    yield run.launch()


@pytest.mark.full
@drill("SIGKILL to a process of a real vLLM server while a request runs")
@pytest.mark.parametrize("name", ["VLLM::Worker", "VLLM::EngineCore", "the API server"])
def test_real_server_loses_a_process(place: Place, own_server, name: str, cli_process, said) -> None:
    """the request ends with an error and not as half an answer, the whole group ends, the doctor names it, the port is free"""
    group = [psutil.Process(pid) for pid in own_server.members()]
    named = {process.name(): process.pid for process in group} | {"the API server": own_server.lease.server.pid}
    victim = next((pid for known, pid in named.items() if known.startswith(name)), None)
    assert victim, sorted(named)
    body = {"model": own_server.model, "messages": [{"role": "user", "content": "What is 2 + 2?"}]} | LONG
    lines = []
    with httpx.Client(timeout=120) as client:
        try:
            with client.stream("POST", own_server.base_url + CHAT, json=body) as reply:
                for line in reply.iter_lines():
                    if not lines:
                        os.kill(victim, signal.SIGKILL)
                    lines.append(line)
        except httpx.HTTPError as error:
            lines.append(f"error: {type(error).__name__}")
    assert "error" in "".join(lines[-4:]), lines[-4:]
    assert wait(lambda: not own_server.members(), 90), "the rest of the server goes on"
    assert wait(lambda: not own_server.running() and port_free(place.port), 30)
    if name == "the API server":  # which has no time for a last word
        said("the client's " + next(line for line in lines[-4:] if "error" in line))
    else:
        done = cli_process("doctor", str(own_server.log), timeout=120)
        assert done.returncode == 1 and "Traceback" not in done.stderr, (done.returncode, done.stdout, done.stderr)
        said(next(line for line in done.stdout.splitlines() if "Error" in line or "died" in line))
    place.assert_nothing_left()
