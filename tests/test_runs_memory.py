"""The watch over a run's memory: it sees the peak, costs next to nothing, and ends with its run."""

import gc
import threading
import time

import pytest

from helpers.runs import memory
from helpers.runs.memory import PeakMemory


def watchers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.endswith("(_watch)")}


def wait(condition, seconds: float = 5) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SECONDS", 0.02)


def test_the_peak_is_kept_when_the_memory_is_given_back() -> None:
    watch = PeakMemory(lambda: [])
    assert wait(lambda: watch.peak_gib > 0)
    before, block = watch.peak_gib, bytearray(300 << 20)
    assert watch.look() > before + 0.25
    del block
    assert watch.stop() > before + 0.25


def test_a_watch_ends_with_stop_and_with_whoever_held_it() -> None:
    class Holder:  # as a run does: the watch holds it by what it asks of it
        def __init__(self) -> None:
            self.pids: list[int] = []
            self.watch = PeakMemory(lambda: self.pids)

    before = watchers()  # of other tests' runs: they end when they like
    own = lambda: len(watchers() - before)  # noqa: E731
    stopped, dropped = PeakMemory(lambda: []), Holder()
    assert wait(lambda: own() == 2)
    stopped.stop()
    assert wait(lambda: own() == 1)
    del dropped
    # Its thread may be looking, and so hold it, while the garbage is collected once.
    assert wait(lambda: (gc.collect(), own() == 0)[1])


def test_a_watch_that_looks_seldom_ends_at_once_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside large processes it sleeps for a minute between two looks: nobody waits that long for its end."""
    monkeypatch.setattr(memory, "SHARE", 1e-9)
    before = watchers()
    held = [PeakMemory(lambda: [])]
    assert wait(lambda: held[0].peak_gib > 0), "it has looked, and sleeps now"
    held.clear()
    assert wait(lambda: (gc.collect(), not watchers() - before)[1])


def test_looking_at_large_processes_is_done_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's processes cost a quarter of a second each time: every two seconds that was a tenth of a core, per run."""
    looks = []

    def costly(pids: list[int]) -> float:
        looks.append(time.monotonic())
        began = time.thread_time()
        while time.thread_time() < began + 0.01:
            pass
        return 1.0

    monkeypatch.setattr(memory, "pss_gib", costly)
    watch = PeakMemory(lambda: [])
    assert wait(lambda: len(looks) == 2, 20)
    watch.stop()
    assert looks[1] - looks[0] > 0.8, "the second is due after 0.01 s / SHARE = 1 s"
