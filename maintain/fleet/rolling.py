"""A rolling restart: each replica leaves the router, finishes what it has, starts anew and comes back, one after another.

vllm-router takes a replica out (`/remove_worker`) and in (`/add_worker`) while it runs; what a replica that was taken out is
still answering goes on to its client. vLLM's own `/metrics` says when nothing is left.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from helpers.errors import CookbookError, UsageError
from helpers.keys import authorised
from helpers.recipes.command.serve import Command
from helpers.server import stop
from helpers.server.replicas import MARK, VLLM, Replicas, launch_vllm

LOOK_S = 0.25  # between two looks at a replica that is finishing
QUIET = 3  # looks in a row at which it has nothing: a request may be on its way from the router
DRAIN_S = 600.0  # a long answer of a big model
UNFINISHED = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^}]*\})? ([\d.e+]+)$", re.MULTILINE)
HTTP_S = 60.0  # the router asks a replica's /health before it takes it in


@dataclass(frozen=True)
class Router:
    """The administration of a running vllm-router."""

    base_url: str

    def replicas(self) -> list[str]:
        """The addresses that it sends requests to."""
        return sorted(self._ask("GET", "/list_workers").json()["urls"])

    def take_out(self, url: str) -> None:
        """Send it no more requests; what it answers goes on."""
        self._ask("POST", "/remove_worker", url)

    def put_in(self, url: str) -> None:
        """Send it requests again; it must answer `/health`."""
        self._ask("POST", "/add_worker", url)

    def _ask(self, method: str, path: str, url: str = "") -> httpx.Response:
        where = {"url": url} if url else None
        try:
            reply = httpx.request(method, self.base_url + path, params=where, headers=authorised(), timeout=HTTP_S)
        except httpx.HTTPError as error:
            raise CookbookError(
                f"the router at {self.base_url} does not answer {path}",
                why=type(error).__name__,
                do="see `cookbook status`",
            ) from None
        if reply.status_code != 200:
            raise CookbookError(
                f"the router at {self.base_url} refused {path}",
                why=f"HTTP {reply.status_code}: {reply.text[:120]}",
                do="set VLLM_API_KEY to its key" if reply.status_code == 401 else "see its log",
            )
        return reply


def in_flight(url: str) -> int:
    """Requests that a server has not finished, by its `/metrics`."""
    found = UNFINISHED.findall(httpx.get(f"{url}/metrics", timeout=HTTP_S).raise_for_status().text)
    if not found:
        raise CookbookError(f"{url}/metrics does not say how many requests run", do="is it vLLM?")
    return int(sum(map(float, found)))


def drain(url: str, limit_s: float = DRAIN_S) -> float:
    """Wait until a server that gets no more requests has finished all it has; returns the seconds that took."""
    began, quiet = time.monotonic(), 0
    while quiet < QUIET:
        left = in_flight(url)
        quiet = 0 if left else quiet + 1
        if time.monotonic() - began > limit_s:
            raise CookbookError(
                f"{url} still has {left} requests after {limit_s:.0f} s",
                why="its clients wait for long answers",
                do="run the same command again to wait anew, or end those requests",
            )
        time.sleep(LOOK_S)
    return time.monotonic() - began


def roll(
    fleet: Replicas,
    commands: Sequence[Command],
    interpreter: Path,
    checkpoint: str = "",
    say: Callable[[str], None] = print,
    limit_s: float = DRAIN_S,
) -> None:
    """Restart every replica of `fleet` with its command of `commands`, one after another, and lose no request.

    `fleet.servers` holds the new servers afterwards. `CookbookError` where one does not finish within `limit_s` seconds or does
    not start: the ones after it are left as they are, and the router goes on with all that answer.
    """
    if len(fleet.servers) < 2 or len(commands) != len(fleet.servers):
        raise UsageError(
            f"{len(fleet.servers)} replicas cannot be restarted one by one with {len(commands)} commands",
            why="while one is away the others answer, and each comes back in its own place",
            do="keep the number of replicas, 2 or more",
        )
    router = Router(fleet.base_url)
    for number, (server, command) in enumerate(zip(fleet.servers, commands, strict=True)):
        began, url = time.monotonic(), server.base_url
        router.take_out(url)
        say(f"replica {number}  POST /remove_worker?url={url}: the others get its requests")
        try:
            say(f"replica {number}  has answered all it had after {drain(url, limit_s):.1f} s")
        except CookbookError:
            router.put_in(url)
            raise
        fleet.servers[number] = _anew(server, command, interpreter, checkpoint, number)
        router.put_in(url)
        say(f"replica {number}  POST /add_worker?url={url}: back after {time.monotonic() - began:.1f} s")


def _anew(server: VLLM, command: Command, interpreter: Path, checkpoint: str, number: int) -> VLLM:
    """The replica stopped, and started again on its port."""
    old = server.current
    stop(old)
    new = launch_vllm(
        [command.on_port(old.port).changed({}, {MARK: str(number)})],
        interpreter,
        port=old.port,
        log=server.log,
        target=old.target,
        checkpoint=checkpoint,
        report=lambda *_: None,
        kept=old.kept,
        restart=old.restart,
    )
    assert isinstance(new, VLLM)  # one command
    return new
