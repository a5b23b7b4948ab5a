"""How long a server that a request has ended stays away, and what clients behind the router see of it meanwhile.

Two replicas of the CPU recipe without the remedy against seeded prompts, `restart on-failure`, four clients that resend what
fails, and the request that ends a server as vLLM comes.
"""

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.result import Result, Value, result_of
from benchmarks.seeded_prompts import LONG, MODEL, prompt, without_limit
from helpers.errors import CookbookError
from helpers.machine import facts
from helpers.paths import shown
from helpers.processes import free_port
from helpers.recipes import check_parameters, load_model, load_target
from helpers.recipes.command.replicas import replica_commands
from helpers.recipes.command.serve import serve_command
from helpers.runs.folder import kept_on_failure
from helpers.server.replicas import Replicas, launch_vllm

QUESTION = "How long does a server that a request has ended stay away?"
REPLICAS, CLIENTS = 2, 4
AWAY_S = 240.0  # a start on a busy machine
GIVE_UP_S = 120.0  # a client that gets no answer in this time counts as lost
BEFORE_S, AFTER_S = 5.0, 10.0  # of load before the killer and after the recovery


@dataclass
class Seen:
    """What the clients saw, and when the replicas were back (seconds from the killer's end)."""

    answered: int = 0
    resent: int = 0
    lost: int = 0
    longest_s: float = 0.0
    after: list[int] = field(default_factory=list)  # answers of each replica once all were back
    first_answer_s: float = 0.0  # until a request that failed was answered when sent again
    back_s: float = 0.0  # until every replica answered /health again
    restarts: list[str] = field(default_factory=list)  # the doctor's word on each


def fleet(interpreter: Path, checkpoint: Path, folder: Path) -> Replicas:
    """Two replicas behind the router, each started anew when it ends."""
    target, model = without_limit(load_target("cpu")), load_model(MODEL)
    parameters = check_parameters(target, {"replicas": REPLICAS})
    command = serve_command(target, model, parameters, str(checkpoint), 0)
    commands = replica_commands(command, target, parameters, [free_port() for _ in range(REPLICAS)])
    options = {"target": "cpu", "checkpoint": str(checkpoint), "report": lambda *_: None, "restart": True}
    servers = launch_vllm(commands, interpreter, port=free_port(), log=folder / "server.log", **options)
    assert isinstance(servers, Replicas)
    return servers


class Clients:
    """Clients that ask one small question after the other, and send again what failed."""

    def __init__(self, base_url: str):
        self.url, self.seen, self.ended = f"{base_url}/v1/completions", Seen(), threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(CLIENTS)]
        self.lock = threading.Lock()
        for thread in self.threads:
            thread.start()

    def _ask(self, number: int) -> None:
        chance = random.Random(number)
        while not self.ended.is_set():
            body = {"model": MODEL, "prompt": prompt(chance, 20), "max_tokens": 8, "temperature": 0, "ignore_eos": True}
            began, tries = time.monotonic(), 0
            while not (good := self._answered(body)) and time.monotonic() - began < GIVE_UP_S:
                tries += 1
                time.sleep(0.5)
            took = time.monotonic() - began
            with self.lock:
                self.seen.answered += good
                self.seen.lost += not good
                self.seen.resent += tries
                self.seen.longest_s = max(self.seen.longest_s, took)
                self.seen.first_answer_s = self.seen.first_answer_s or (took if tries else 0.0)

    def _answered(self, body: dict) -> bool:
        try:
            reply = httpx.post(self.url, json=body, timeout=GIVE_UP_S)
            return reply.status_code == 200 and bool(reply.json()["choices"])
        except (httpx.HTTPError, ValueError, KeyError):
            return False

    def end(self) -> Seen:
        """Let every client finish what it asks; what they saw."""
        self.ended.set()
        for thread in self.threads:
            thread.join(GIVE_UP_S + 30)
        return self.seen


def recovered(servers: Replicas) -> Seen:
    """Load, the killer, and the wait until everything is as before. `CookbookError` where it does not become so."""
    from helpers.checks.replicas import counts

    clients = Clients(servers.base_url)
    try:
        time.sleep(BEFORE_S)
        killer = {
            "model": MODEL,
            "prompt": prompt(random.Random(99), LONG),
            "max_tokens": 8,
            "temperature": 1.0,
            "seed": 3,
        }
        try:
            reply = httpx.post(f"{servers.base_url}/v1/completions", json=killer, timeout=GIVE_UP_S)
            if reply.status_code == 200:
                raise CookbookError("the killer was answered", do="see whether this vLLM still has the limit")
        except httpx.HTTPError:
            pass
        began = time.monotonic()
        while sum(len(server.current.restarts) for server in servers.servers) < 1 or not servers.healthy():
            if time.monotonic() - began > AWAY_S:
                raise CookbookError("the replicas did not come back", do=f"see `cookbook doctor {shown(servers.log)}`")
            time.sleep(0.2)
        back = time.monotonic() - began
        addresses = [server.base_url for server in servers.servers]
        before = counts(addresses)
        time.sleep(AFTER_S)
        after = counts(addresses)
    finally:
        seen = clients.end()
    seen.back_s, seen.after = back, [late - early for early, late in zip(before, after, strict=True)]
    seen.restarts = [one.cause for server in servers.servers for one in server.current.restarts]
    return seen


def measure(interpreter: Path, checkpoint: Path) -> Result:
    """One recovery under load."""
    with kept_on_failure("bench-recovery") as folder:
        servers = fleet(interpreter, checkpoint, folder)
        try:
            seen = recovered(servers)
        finally:
            servers.stop()
    rows = [
        Value(name="until every replica answers again", value=seen.back_s, unit="s", detail="; ".join(seen.restarts)),
        Value(
            name="until a request that failed is answered",
            value=seen.first_answer_s,
            unit="s",
            detail="the client resends",
        ),
        Value(name="longest wait of a client", value=seen.longest_s, unit="s", detail=f"{CLIENTS} clients, resending"),
        Value(
            name="requests without an answer", value=seen.lost, unit="", bar=0, detail=f"of {seen.answered + seen.lost}"
        ),
        Value(name="sent again", value=seen.resent, unit=""),
        Value(
            name="least answered by a replica after the recovery",
            value=min(seen.after),
            unit="",
            detail=f"in {AFTER_S:g} s",
        ),
    ]
    return result_of("recovery", QUESTION, rows, {"vllm": facts.versions(interpreter)["vllm"]})
