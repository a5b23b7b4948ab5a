"""A tqdm bar for whoever waits: in a terminal, below a notebook's cell, in the panel's status line; elsewhere none."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

# Takes the bar's line where a thread has no cell to show it in: the panel sets its status line.
SHOW: ContextVar[Callable[[str], Any] | None] = ContextVar("SHOW", default=None)
# What executes notebooks for the repository sets it: a kept page has no bar. Not tqdm's own name, which vLLM would see too.
OFF = "COOKBOOK_NO_BAR"
STEP = re.compile(rb"^step (\d+) of (\d+)$", re.M)  # what a child prints to move the bar
LOOK_S = 0.5  # between two states of a line that is not in a terminal, and of a child


class _Line:
    """A file for tqdm that hands over each state of its line; no widget, so a saved notebook keeps no dead one."""

    def __init__(self, show: Callable[[str], Any]) -> None:
        self.show = show

    def write(self, text: str) -> None:
        self.show(text.strip())

    def flush(self) -> None: ...


class _Bar(tqdm):
    """A bar whose lock is free again where an interrupt comes while it is drawn: tqdm's own stays taken, and whoever draws
    next in another thread waits forever."""

    def refresh(self, nolock: bool = False, lock_args: tuple | None = None) -> None:
        if nolock:
            super().refresh(nolock=True)
            return
        with self.get_lock():
            super().refresh(nolock=True)


def _below_the_cell() -> Callable[[str], Any] | None:
    """What shows a line in the output of the running cell; None outside a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    handle = display({"text/plain": ""}, raw=True, display_id=True)
    return lambda line: handle.update({"text/plain": line}, raw=True)


def bar(what: str, total: float | None = None, unit: str = "it", **more: Any) -> Any:
    """A bar of tqdm that is gone once it is closed. Its `disable` is true where nobody would see it."""
    off = True if os.environ.get(OFF) else None  # None: off where stderr is no terminal
    show = None if off else SHOW.get() or _below_the_cell()
    more = {"file": _Line(show), "ncols": 76, "ascii": False, "mininterval": LOOK_S} | more if show else more
    return _Bar(desc=what, total=total, unit=unit, leave=False, disable=off, **more)


def child(
    what: str, argv: Sequence[str], timeout_s: float = float("inf"), **options: Any
) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` of a child that takes a while, its output captured as text: a bar says for how long it has run.

    Lines of the child like "step 3 of 12" move the bar. `options` are those of `Popen`. A child that outlives `timeout_s`
    is ended: `subprocess.TimeoutExpired`.
    """
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    end = time.monotonic() + timeout_s
    with (
        bar(what, unit=" steps", bar_format="{desc}: {elapsed}") as shown,
        subprocess.Popen(argv, **options) as process,
    ):
        try:
            while True:
                try:
                    out, err = process.communicate(timeout=LOOK_S)
                    return subprocess.CompletedProcess(argv, process.returncode, out, err)
                except subprocess.TimeoutExpired as so_far:
                    if time.monotonic() > end:
                        raise subprocess.TimeoutExpired(argv, timeout_s) from None
                    for done, total in STEP.findall(so_far.stdout or b"")[-1:]:
                        shown.n, shown.total, shown.bar_format = int(done), int(total), None
                    shown.refresh()
        except BaseException:
            process.terminate()  # it may have a half-written folder to remove
            raise
