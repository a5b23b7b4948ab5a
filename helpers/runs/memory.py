"""Peak memory of a run: the kernel, the server and the load client together."""

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable

import psutil

SECONDS = 2.0  # between two looks, at least
SHARE = 0.005  # of one core that looking may cost: the kernel walks every page of a process for its PSS


def pss_gib(pids: list[int]) -> float:
    """Proportional set size of the processes in GiB: shared pages count once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(pid).memory_full_info().pss
    return total / 2**30


def family(root: int) -> list[int]:
    """A process and all its descendants."""
    with contextlib.suppress(psutil.Error):
        return [root, *(child.pid for child in psutil.Process(root).children(recursive=True))]
    return []


class PeakMemory:
    """A thread that looks every two seconds, or as seldom as `SHARE` asks; `peak_gib` is the most it has seen.

    The thread ends with `stop`, or when nobody holds this object any more.
    """

    def __init__(self, others: Callable[[], list[int]]):
        self.others, self.peak_gib = others, 0.0
        self._ended = ended = threading.Event()
        reference = weakref.ref(self, lambda _: ended.set())  # wakes the thread, which may sleep for long
        threading.Thread(target=_watch, args=(reference, ended), daemon=True).start()

    def look(self) -> float:
        """Take the sum now; returns the peak so far in GiB."""
        self.peak_gib = max(self.peak_gib, pss_gib([*{*family(os.getpid()), *self.others()}]))
        return self.peak_gib

    def stop(self) -> float:
        """End the thread after a last look; returns the peak in GiB."""
        if not self._ended.is_set():
            self._ended.set()
            self.look()
        return self.peak_gib


def _watch(reference: weakref.ref[PeakMemory], ended: threading.Event) -> None:
    pause = SECONDS
    while not ended.wait(pause):
        memory = reference()
        if memory is None:
            return
        began = time.thread_time()
        memory.look()
        pause = max(SECONDS, (time.thread_time() - began) / SHARE)
        del memory  # a run that nobody holds must be free to go
