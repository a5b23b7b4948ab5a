"""One configuration on a real server: started once, swept, stopped, whatever happens."""

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from helpers.bench.sweep import Console, Load, sampling, sweep
from helpers.bench.tune.plan import Proposal
from helpers.bench.worker import LoadWorker
from helpers.errors import CookbookError, UsageError
from helpers.logs import backends, memory
from helpers.records.record import Point
from helpers.server.launch import READY_TIMEOUT
from helpers.server.replicas import launch_vllm


@dataclass
class Measured:
    """What came of it: the points of the whole sweep, or the cause why there are none."""

    cause: str = ""
    points: list[Point] = field(default_factory=list)
    startup_s: dict[str, float] = field(default_factory=dict)
    backends: dict[str, str] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    finished: datetime = field(default_factory=lambda: datetime.now(UTC))


class Bench:
    """Where configurations are measured: the stack's Python, the checkpoint, and one load client for all of them."""

    def __init__(
        self,
        interpreter: Path,
        checkpoint: str,
        kind: str = "",  # of the weights
        report: Callable = print,
        start_s: float = READY_TIMEOUT,
    ):
        self.interpreter, self.checkpoint, self.report = Path(interpreter), checkpoint, report
        self.start_s = start_s  # a server that is not ready by then counts as one that does not start
        self.sampling = sampling(kind)
        self._worker: LoadWorker | None = None

    def worker(self, folder: Path) -> LoadWorker:
        """The load client, started (again) where there is none; its import costs 25 CPU-seconds."""
        if self._worker is None or self._worker.process.poll() is not None:
            self._worker = LoadWorker(self.interpreter, folder / "load.log", os.environ.get("VLLM_API_KEY"))
        return self._worker

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()

    def __call__(self, proposal: Proposal, loads: list[Load], folder: Path) -> Measured:
        """Start, sweep, stop. A configuration that cannot do it is a result; trouble of our own is raised."""
        found, command, log = Measured(), proposal.command, folder / "server.log"
        worker = self.worker(folder.parent)
        for old in (log, *(folder / "bench").glob("*.json")):  # of a call that was cut off: a sweep is whole or not
            old.unlink(missing_ok=True)
        try:
            server = launch_vllm(
                [command],
                self.interpreter,
                port=command.port,
                log=log,
                target=command.target,
                checkpoint=self.checkpoint,
                report=phase,
                timeout=self.start_s,
            )
        except UsageError:
            raise
        except CookbookError as error:
            found.cause, found.finished = error.why or error.what, datetime.now(UTC)
            return found
        try:
            if server.shared():
                raise UsageError(
                    f"the server on port {server.lease.port} has the same command and somebody uses it",
                    do="stop that use first: its load would be measured too",
                )
            self.report(f"  ready after {server.startup_s['total']:.0f} s")
            found.startup_s, found.backends, found.memory = server.startup_s, backends(log), memory(log)
            found.points = sweep(
                server.base_url,
                command.model,
                self.checkpoint,
                self.interpreter,
                loads,
                folder,
                worker=worker,
                gpus=proposal.gpus,
                tag=server.lease.fingerprint,
                progress=Console(lambda line: self.report(f"  {line}")),
                **self.sampling,
            )
        except UsageError:
            raise
        except CookbookError as error:
            if server.running() and worker.process.poll() is not None:
                raise  # the client died beside a sound server: nothing is known about this configuration
            found.cause, found.points = cause(error, server.running(), log), []
        finally:
            server.stop()
        found.finished = datetime.now(UTC)
        return found


def phase(name: str, seconds: float, line: str) -> None:
    """How far a start is, where stderr is a terminal."""
    if sys.stderr.isatty():
        print(f"\r  {seconds:4.0f} s  {name:12}", end="\n" if name == "ready" else "", file=sys.stderr, flush=True)


def cause(error: CookbookError, running: bool, log: Path) -> str:
    """Why a sweep failed: the log's first exception where the server is gone, else what the client said."""
    if not running:
        from helpers.doctor import first_exception

        with contextlib.suppress(OSError):
            if found := first_exception(log):
                return found
    return " because ".join(filter(None, [error.what, error.why]))
