"""One watch over the process trees of all sandboxes: memory and process counts, read from the outside."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

BUSY_S = 0.1  # between looks while a program runs
IDLE_S = 1.0  # between looks while interpreters only wait
PAGE = os.sysconf("SC_PAGE_SIZE")


def processes() -> dict[int, tuple[int, int]]:
    """Every process of this host: pid -> (parent pid, resident bytes). Linux reads /proc; others use psutil."""
    table: dict[int, tuple[int, int]] = {}
    if Path("/proc/self/stat").exists():
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat", "rb") as file:
                        fields = file.read().rpartition(b")")[2].split()
                except OSError:
                    continue
                # proc(5): after the command's closing bracket, field 1 is ppid and 21 is rss in pages.
                table[int(name)] = (int(fields[1]), int(fields[21]) * PAGE)
        return table
    import psutil

    for process in psutil.process_iter(["ppid", "memory_info"]):
        memory = process.info["memory_info"]
        table[process.pid] = (process.info["ppid"] or 0, memory.rss if memory else 0)
    return table


def trees(roots: set[int], table: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """For each root pid: (processes below it, resident bytes of it and all below)."""
    children = defaultdict(list)
    for pid, (parent, _) in table.items():
        children[parent].append(pid)
    totals = {}
    for root in roots & table.keys():
        count, resident, queue = -1, 0, [root]
        while queue:
            pid = queue.pop()
            count += 1
            resident += table[pid][1]
            queue.extend(children[pid])
        totals[root] = (count, resident)
    return totals


class Watch:
    """Calls back with a root's (count, resident bytes) at every look, as long as the root is watched."""

    def __init__(self) -> None:
        self._roots: dict[int, Callable[[int, int], None]] = {}
        self._busy = 0
        self._task: asyncio.Task | None = None
        self._wake = asyncio.Event()

    def add(self, pid: int, look: Callable[[int, int], None]) -> None:
        self._roots[pid] = look
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def remove(self, pid: int) -> None:
        self._roots.pop(pid, None)
        self._wake.set()

    def busy(self, change: int) -> None:
        """One more (+1) or one fewer (-1) program runs: looks come often while any does."""
        self._busy += change
        if change > 0:
            self._wake.set()

    async def _run(self) -> None:
        while self._roots:
            for root, (count, resident) in trees(set(self._roots), processes()).items():
                if look := self._roots.get(root):
                    look(count, resident)
            self._wake.clear()
            if self._busy > 0:
                await asyncio.sleep(BUSY_S)
            else:
                try:
                    await asyncio.wait_for(self._wake.wait(), IDLE_S)
                except TimeoutError:
                    continue
