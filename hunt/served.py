"""The server that is hunted on: one of a recipe, which can be started anew, or whatever answers at an address."""

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import httpx
import psutil

from helpers.doctor import first_exception
from helpers.errors import CookbookError
from helpers.paths import CACHE
from helpers.processes import end_group, free_port
from helpers.recipes import check_parameters, load_model, load_target
from helpers.runs.memory import pss_gib
from helpers.server.replicas import launch_vllm
from helpers.server.serving import Serving, servings
from helpers.server.weights import checkpoint
from maintain.fleet.serve import behind_rules

GIB = 2**30


@dataclass
class Given:
    """A server that somebody else started; a kill ends the hunt. Its memory is read where it runs on this machine."""

    base_url: str
    log: Path | None = None
    over: float = 0.0  # GiB seen when the server was ended for its memory

    def start(self) -> None:
        """There is nothing to start: the server must answer."""
        if not self.alive():
            raise CookbookError(
                f"{self.base_url} does not answer /health", do="start the server, or correct the address"
            )

    def alive(self) -> bool:
        """Whether `/health` says 200 within 60 s: a busy server answers late."""
        try:
            return httpx.get(f"{self.base_url}/health", timeout=60).status_code == 200
        except httpx.HTTPError:
            return False

    def pids(self) -> list[int]:
        """The processes behind the port, children included; none where the server is on another machine."""
        port = httpx.URL(self.base_url).port
        with contextlib.suppress(psutil.Error):
            for one in psutil.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid:
                    holder = psutil.Process(one.pid)
                    return [holder.pid, *(child.pid for child in holder.children(recursive=True))]
        return []

    def memory_gib(self) -> float:
        """What the processes hold of the host's memory, shared pages counted once; 0 where it cannot be read."""
        return pss_gib(self.pids())

    def said(self) -> str:
        """The first exception of the log."""
        if self.over:
            return f"ended at {self.over:.1f} GiB of host memory, before it took more"
        return (first_exception(self.log) or "the log names no exception") if self.log else "its log is not here"

    def stop(self) -> None:
        """A stranger's server goes on."""

    restarts = False


@dataclass
class Ours(Given):
    """The server of a recipe, with the remedies of the limits in `without` left off."""

    target: str = "cpu"
    parameters: dict = field(default_factory=dict)
    without: tuple[str, ...] = ()
    folder: Path = Path(".")
    kept: bool = False
    guarded: bool = False  # the cookbook's middleware in front: it refuses what nothing else prevents
    scale_out: bool = False  # as a replica that tells its router a prompt's tokens
    restarts = True
    starts: int = 0
    startup_s: float = 0.0

    def serving(self) -> Serving:
        """The recipe without those limits."""
        target = load_target(self.target)
        if unknown := set(self.without) - {limit.id for limit in target.known_limits}:
            raise CookbookError(f"{self.target} has no known limit {', '.join(sorted(unknown))}")
        limits = [limit for limit in target.known_limits if limit.id not in self.without]
        target = target.model_copy(update={"known_limits": limits})
        parameters = check_parameters(target, self.parameters)
        return servings(target, load_model(parameters.model), parameters)[1]

    @property
    def words(self) -> str:
        """What is served, in words; "" for the CPU recipe as it is."""
        given = self.serving().parameters
        if self.target == "cpu":
            return ""
        return f"{given.model} ({given.weights} weights) by the {given.profile} profile of {self.target}"

    def start(self) -> None:
        """Start it, or attach to the one that a hunt before this one kept."""
        from helpers.machine.interpreter import serving_stack

        serving = self.serving()
        interpreter, self.versions = serving_stack(serving.target.stack.install, serving.parameters.install)
        weights = checkpoint(serving, interpreter, CACHE / "models")
        port = serving.parameters.port or free_port()
        command = serving.command(weights, port)
        if self.guarded:
            command = behind_rules(command)
        if self.scale_out:
            command = command.changed({"--enable-scale-out": ()}, {})
        self.starts += 1
        self.over = 0.0
        began, log = time.monotonic(), self.folder / f"server-{time.strftime('%H%M%S')}.log"
        options = {"kept": self.kept, "report": lambda *_: None, "checkpoint": weights}
        self.server = launch_vllm([command], interpreter, port=port, log=log, target=self.target, **options)
        self.base_url, self.log, self.command = self.server.base_url, log, self.server.commands[0]
        self.startup_s = time.monotonic() - began

    def alive(self) -> bool:
        return self.server.running() and super().alive()

    def pids(self) -> list[int]:
        return self.server.members()

    def stop(self) -> None:
        self.server.stop()


class Guard:
    """Ends a server of ours that takes more host memory than `limit_gib`, before the machine's other work does."""

    EVERY_S = 0.2

    def __init__(self, served: Given, limit_gib: float):
        self.served, self.limit, self.highest = served, limit_gib, 0.0
        self._ended = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(self.EVERY_S):
            held = sum(_resident(pid) for pid in self.served.pids()) / GIB
            self.highest = max(self.highest, held)
            if held > self.limit and isinstance(self.served, Ours):
                self.served.over = held
                end_group(self.served.server.lease.server, term_seconds=0)

    def end(self) -> float:
        """Watch no longer; the highest memory seen, in GiB."""
        self._ended.set()
        self._thread.join()
        return self.highest


def _resident(pid: int) -> int:
    """The resident bytes of a process that are its own."""
    try:
        words = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(words[1]) - int(words[2])) * os.sysconf("SC_PAGE_SIZE")
