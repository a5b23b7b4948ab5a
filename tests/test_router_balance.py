"""What the real router does to copies of which one pauses: two endpoints that stream as vLLM does, clients that ask on and on."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from helpers.paths import ROOT
from helpers.recipes.command.replicas import POLICY, router_words
from helpers.server import free_port

USERS, REQUESTS, CHUNKS = 32, 160, 10


class Copy(ThreadingHTTPServer):
    """An endpoint whose requests advance together, a chunk a step; more of them take longer, and one step two seconds."""

    daemon_threads, request_queue_size = True, USERS

    def __init__(self, pauses: bool):
        super().__init__(("127.0.0.1", 0), Answer)
        self.pauses, self.running, self.most, self.steps = pauses, 0, 0, 0
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
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/completions":  # the router asks for a prompt's tokens; without, it takes the text
            return self.send_error(404)
        copy = self.server
        with copy.turn:
            copy.running += 1
            copy.most = max(copy.most, copy.running)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for _ in range(CHUNKS):
            with copy.turn:
                now = copy.steps
                copy.turn.wait_for(lambda now=now: copy.steps > now)
            self.wfile.write(b'data: {"choices": [{"text": "x"}]}\n\n')
        with copy.turn:
            copy.running -= 1

    def log_message(self, *args: object) -> None:
        pass


def most_in_flight(policy: str) -> int:
    """The most requests that one of two copies had in flight, of `USERS` in all."""
    copies, port = [Copy(pauses=False), Copy(pauses=True)], free_port()
    words = router_words([one.server_port for one in copies], port, free_port(), policy)
    router = subprocess.Popen(
        [sys.executable, "-m", "helpers.server.router", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    limits = httpx.Limits(max_connections=USERS)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, limits=limits) as client:
            answers(client)

            def ask(number: int) -> None:
                body = {"model": "m", "prompt": f"{number} " * 40, "stream": True}
                assert client.post("/v1/completions", json=body).text.count("data:") == CHUNKS

            with ThreadPoolExecutor(USERS) as pool:
                list(pool.map(ask, range(REQUESTS)))
    finally:
        router.terminate()
        router.wait()
        for one in copies:
            one.shutdown()
            one.server_close()
    return max(one.most for one in copies)


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
    assert most_in_flight(POLICY) <= 0.6 * USERS
