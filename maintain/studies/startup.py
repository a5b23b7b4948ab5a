"""From a launch to the first streamed token, by phase: through the cookbook and by hand."""

import http.client
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import CookbookError
from helpers.keys import authorised
from helpers.paths import ROOT, shown
from helpers.processes import Identity, cpu_seconds, group_members, healthy
from helpers.server import end_group, launch
from helpers.server.launch import READY_TIMEOUT, plain_environment
from helpers.server.readiness import StartProgress, wait_until

FIRST_REQUEST = "first request"
REQUEST_TIMEOUT = 600.0  # a first request may compile


@dataclass(frozen=True)
class Start:
    """One start: the seconds of each phase of vLLM's log, of the first request, and all together.

    `cpu_s` is the CPU time of all the server's processes until it answered, where it was asked for.
    """

    how: str
    phases: dict[str, float]
    cpu_s: float = 0.0

    @property
    def total(self) -> float:
        return sum(self.phases.values())


def first_token(port: int, model: str, log: Path) -> float:
    """Seconds until the first chunk of a streamed completion."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_TIMEOUT)
    body = {"model": model, "prompt": "Hello", "max_tokens": 8, "stream": True, "temperature": 0, "ignore_eos": True}
    headers = {"Content-Type": "application/json", **authorised()}
    try:
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != 200 or not answer.readline().startswith(b"data: {"):
            raise CookbookError("the first request streamed nothing", f"status {answer.status}", _see(log))
        seconds = time.monotonic() - began
        answer.read()
        return seconds
    except OSError as error:
        raise CookbookError("the first request failed", str(error), _see(log)) from None
    finally:
        connection.close()


def _see(log: Path) -> str:
    return f"see `cookbook doctor {shown(Path(log))}`"


def through_cookbook(
    argv: Sequence[str], env: Mapping[str, str], *, port: int, log: Path, model: str, target: str = "cpu"
) -> Start:
    """The cookbook's launch, the first request, the stop."""
    began = time.monotonic()
    server = launch(argv, env, port=port, log=log, target=target, model=model, report=lambda *_: None)
    try:
        if server.attached:
            raise CookbookError("this start was none", "the same server runs already", "stop it first")
        request = first_token(port, model, log)
        seconds = time.monotonic() - began
    finally:
        server.stop()
    return Start("cookbook", phases(server.startup_s, request, seconds))


def by_hand(argv: Sequence[str], env: Mapping[str, str], *, port: int, log: Path, model: str) -> Start:
    """The same without the cookbook: a process, a poll of `/health`, a request."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with Path(log).open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            list(argv),
            cwd=ROOT,
            env=plain_environment() | dict(env),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = Identity.of(process.pid)
    try:
        progress = StartProgress(began)
        dead = lambda: process.poll() is not None  # noqa: E731
        state = wait_until(lambda: healthy(port), dead, progress, Path(log), lambda *_: None, READY_TIMEOUT)
        if state != "ready":
            from helpers.doctor import first_exception

            raise CookbookError("the start by hand failed", first_exception(log) or state, _see(log))
        ready = time.monotonic() - began
        cpu = cpu_seconds(group_members(server))
        request = first_token(port, model, log)
        seconds = time.monotonic() - began
    finally:
        end_group(server)
        process.wait()
    return Start("by hand", phases(progress.durations(ready), request, seconds), cpu)


def phases(startup_s: Mapping[str, float], request: float, seconds: float) -> dict[str, float]:
    """The phases of a start; what no phase of the log covers (leases, the supervisor) is named `around`."""
    own = {name: value for name, value in startup_s.items() if name != "total"}
    around = max(0.0, seconds - sum(own.values()) - request)
    return {**own, FIRST_REQUEST: round(request, 2), "around": round(around, 2)}
