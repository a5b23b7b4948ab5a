"""Peak memory of a run: the kernel, the server and the load client together."""

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

SECONDS = 2.0


def pss_gib(pids: list[int]) -> float:
    """Proportional set size of the processes in GiB: shared pages count once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            line = Path(f"/proc/{pid}/smaps_rollup").read_text().partition("\nPss:")[2]
            total += int(line.split()[0])
    return total / 2**20


def family(root: int) -> list[int]:
    """A process and all its descendants."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return [root, *(child.pid for child in psutil.Process(root).children(recursive=True))]
    return []


class PeakMemory:
    """A thread that looks every two seconds; `peak_gib` is the most it has seen."""

    def __init__(self, others: Callable[[], list[int]]):
        self.others, self.peak_gib = others, 0.0
        self._stop = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._stop.wait(SECONDS):
            self.peak_gib = max(self.peak_gib, pss_gib([*{*family(os.getpid()), *self.others()}]))

    def stop(self) -> float:
        """End the thread and return the peak in GiB."""
        self._stop.set()
        return self.peak_gib
