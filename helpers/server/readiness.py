"""How far a starting server is: phases read off its log, and the wait until `/health` answers."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from helpers.logs import PHASES, parse

BLOCK = 2**20  # bytes of log read at a time: a log may grow faster than it is read


@dataclass
class StartProgress:
    """What a log says so far: the phases entered, with the second each began, and the last line."""

    began: float  # time.monotonic() of the launch
    phases: dict[str, float] = field(default_factory=lambda: {"imports": 0.0})
    last_line: str = ""
    offset: int = 0

    def read(self, log: Path) -> list[str]:
        """Take in what the log gained; returns the names of the phases that began."""
        entered = []
        while True:
            with open(log, "rb") as file:
                file.seek(self.offset)
                block = file.read(BLOCK)
            complete = block[: block.rfind(b"\n") + 1] or (block if len(block) == BLOCK else b"")
            self.offset += len(complete)
            entered += self._take(complete)
            if len(block) < BLOCK:
                return entered

    def _take(self, complete: bytes) -> list[str]:
        entered = []
        names = list(PHASES)
        for raw in complete.splitlines():
            text = parse(raw).text.strip()
            self.last_line = text[:160] or self.last_line
            for place, (name, pattern) in enumerate(PHASES.items()):
                # a line of an earlier phase that comes late does not turn the clock back
                later = any(n in self.phases for n in names[place:])
                if not later and pattern.search(text):
                    self.phases[name] = time.monotonic() - self.began
                    entered.append(name)
        return entered

    def durations(self, ready: float) -> dict[str, float]:
        """Seconds spent in each phase, and in all (`total`)."""
        starts = [*self.phases.items(), ("ready", ready)]
        spans = {name: round(after - start, 2) for (name, start), (_, after) in itertools.pairwise(starts)}
        return spans | {"total": round(ready, 2)}


def wait_until(
    healthy: Callable[[], bool],
    dead: Callable[[], bool],
    progress: StartProgress,
    log: Path,
    report: Callable[[str, float, str], None],
    timeout: float,
) -> str:
    """Poll the server's health and its process together; returns "ready", "dead" or "timeout".

    `report(phase, seconds, last_line)` is called as each phase begins.
    """
    report("imports", 0.0, "")
    while True:
        for phase in progress.read(log):
            report(phase, time.monotonic() - progress.began, progress.last_line)
        if healthy():
            return "ready"
        if dead():
            return "dead"
        if time.monotonic() - progress.began > timeout:
            return "timeout"
        time.sleep(0.2)
