"""What the real router does to copies of which one pauses: two endpoints that stream as vLLM does, clients that ask on and on."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from helpers.paths import ROOT
from helpers.recipes.command.replicas import POLICY, router_words
from helpers.server import free_port

USERS, REQUESTS, CHUNKS = 32, 160, 10
KEY = "k"
ABORT = "/inference/v1/abort_requests"
ALIKE = "You are a helpful assistant and answer in one word. "


class Copy(ThreadingHTTPServer):
    """An endpoint whose requests advance together, a chunk a step; more of them take longer, and one step two seconds."""

    daemon_threads, request_queue_size = True, USERS

    def __init__(self, pauses: bool, renders: bool = True):
        super().__init__(("127.0.0.1", 0), Answer)
        self.renders = renders
        self.pauses, self.running, self.most, self.steps = pauses, 0, 0, 0
        self.asked: list[str] = []
        self.turn = threading.Condition()
        for loop in (self.serve_forever, self.step):
            threading.Thread(target=loop, daemon=True).start()

    def step(self) -> None:
        while True:
            time.sleep(0.005 + 0.0005 * self.running)
            if self.pauses and self.running >= USERS // 2 - 1:
                self.pauses = False
                time.sleep(2)
            with self.turn:
                self.steps += 1
                self.turn.notify_all()


class Answer(BaseHTTPRequestHandler):
    server: Copy

    def do_GET(self) -> None:
        if self.path == "/v1/models" and self.headers.get("Authorization") not in (None, f"Bearer {KEY}"):
            return self.send_error(401)  # the router asks whether a key is good
        self.say(b"")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == ABORT:
            self.server.asked.append(self.path)
            return self.say(b"")
        if self.path == "/v1/completions/render":  # the router asks for a prompt's tokens first
            if not self.server.renders:
                return self.send_error(403)  # as vLLM 0.32.0 without --enable-scale-out
            tokens = {"request_id": "r", "token_ids": list(body["prompt"].encode()), "sampling_params": {}}
            return self.say(json.dumps([tokens]).encode())
        copy = self.server
        copy.asked.append(body["prompt"])
        with copy.turn:
            copy.running += 1
            copy.most = max(copy.most, copy.running)
        self.say(b"", "text/event-stream")
        for _ in range(CHUNKS):
            with copy.turn:
                now = copy.steps
                copy.turn.wait_for(lambda now=now: copy.steps > now)
            self.wfile.write(b'data: {"choices": [{"text": "x"}]}\n\n')
        with copy.turn:
            copy.running -= 1

    def say(self, body: bytes, kind: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def routed(copies: list[Copy], policy: str, key: str = "") -> Iterator[httpx.Client]:
    """A client of the router before the copies, which has the key."""
    port = free_port()
    words = router_words([one.server_port for one in copies], port, free_port(), policy)
    command = [sys.executable, "-m", "helpers.server.router", *words]
    env = os.environ | {"VLLM_API_KEY": key}
    router = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=USERS)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, limits=limits, headers=headers) as client:
            answers(client)
            yield client
    finally:
        router.terminate()
        router.wait()
        for one in copies:
            one.shutdown()
            one.server_close()


def ask(client: httpx.Client, prompt: str) -> None:
    """One streamed answer, whole."""
    reply = client.post("/v1/completions", json={"model": "m", "prompt": prompt, "stream": True})
    assert reply.text.count("data:") == CHUNKS


def most_in_flight(policy: str) -> int:
    """The most requests that one of two copies had in flight, of `USERS` in all."""
    copies = [Copy(pauses=False), Copy(pauses=True)]
    with routed(copies, policy) as client, ThreadPoolExecutor(USERS) as pool:
        list(pool.map(lambda number: ask(client, f"{ALIKE}{number}"), range(REQUESTS)))
    return max(one.most for one in copies)


def returned(renders: bool) -> int:
    """How many of 40 turns of four conversations at once, which differ from their first letter, came where the first had come."""
    copies = [Copy(pauses=False, renders=renders) for _ in range(2)]
    with routed(copies, POLICY) as client, ThreadPoolExecutor(4) as pool:
        for turn in range(11):
            order = "abcd" if turn % 2 else "cadb"
            list(pool.map(lambda who, turn=turn: ask(client, who * (200 + 20 * turn)), order))
    homes = [
        [number for number, one in enumerate(copies) for prompt in one.asked if prompt[0] == who] for who in "abcd"
    ]
    return sum(max(own.count(0), own.count(1)) - 1 for own in homes)


def answers(client: httpx.Client) -> None:
    """Until the router does."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the router does not answer")


@pytest.mark.real
def test_a_copy_that_pauses_does_not_gather_the_requests() -> None:
    assert most_in_flight("round_robin") >= 0.8 * USERS, "so the copies differ enough to show it"
    assert most_in_flight(POLICY) <= 0.7 * USERS, "also where all prompts begin alike"


@pytest.mark.real
def test_a_conversation_returns_to_its_copy_where_the_servers_tell_a_prompts_tokens() -> None:
    assert returned(renders=True) == 40
    assert returned(renders=False) < 36, "the recipes' servers do not: the router goes by what is in flight"


@pytest.mark.real
def test_the_router_hides_nothing_from_whoever_reaches_it() -> None:
    """What docs/requests.md says of a router in front of others: another vllm-router may be kinder."""
    copies = [Copy(pauses=False) for _ in range(2)]
    urls = [f"http://127.0.0.1:{one.server_port}" for one in copies]
    with routed(copies, POLICY) as client:
        assert client.post(ABORT, json={"request_ids": ["a"]}).status_code == 200
        assert [ABORT] in [one.asked for one in copies], "it passes every path on"
        assert client.post(f"/remove_worker?url={urls[0]}").status_code == 200
        assert client.get("/list_workers").json()["urls"] == urls[1:]
        assert client.post(f"/add_worker?url={urls[0]}").status_code == 200


@pytest.mark.real
def test_a_router_with_a_key_asks_for_it_on_every_path() -> None:
    copies = [Copy(pauses=False) for _ in range(2)]
    with routed(copies, POLICY, key=KEY) as client:
        for path in (ABORT, f"/remove_worker?url=http://127.0.0.1:{copies[0].server_port}"):
            assert client.post(path, json={}, headers={"Authorization": "Bearer other"}).status_code == 401, path
            assert client.post(path, json={}).status_code == 200, path
