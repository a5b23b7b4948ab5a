"""State by conversation: made on first use, used in turns, ended when idle, replaced when there are too many."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

IDLE_S = 900.0
MOST = 64
WAIT_S = 120.0  # for a place while all are in use


class Busy(Exception):
    """All places were in use for the whole waiting time."""


@dataclass
class _Entry:
    state: Any = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    used: float = 0.0
    waiting: int = 0


class Conversations:
    """At most `most` states, each made by `make()` and ended by `end(state)`; `broken(state)` asks for a new one."""

    def __init__(
        self,
        make: Callable[[], Awaitable[Any]],
        end: Callable[[Any], Awaitable[None]],
        broken: Callable[[Any], bool] = lambda state: False,
        most: int = MOST,
        idle_s: float = IDLE_S,
    ):
        self._make, self._end, self._broken = make, end, broken
        self.most, self.idle_s = most, idle_s
        self._entries: dict[str, _Entry] = {}
        self._freed = asyncio.Condition()
        self._reaper: asyncio.Task | None = None
        self._open: dict[str, int] = {}
        self.lost: set[str] = set()  # conversations whose state was ended to save room, until they are told

    def opened(self, key: str) -> None:
        """A client holds this conversation open: its place is not given to another one."""
        self._open[key] = self._open.get(key, 0) + 1

    def closed(self, key: str) -> None:
        """The counterpart of `opened`."""
        self._open[key] = self._open.get(key, 1) - 1
        if self._open[key] <= 0:
            del self._open[key]

    def __len__(self) -> int:
        return len(self._entries)

    @contextlib.asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[Any]:
        """The state of `key`, for one call at a time. Raises Busy where no place comes free."""
        entry = await self._enter(key)
        try:
            async with entry.lock:
                if entry.state is None or self._broken(entry.state):
                    await self._drop(entry)
                    entry.state = await self._make()
                yield entry.state
        finally:
            entry.waiting -= 1
            entry.used = time.monotonic()
            if entry.state is None and not entry.waiting and self._entries.get(key) is entry:
                del self._entries[key]
            async with self._freed:
                self._freed.notify()

    async def close(self, key: str) -> None:
        """End one conversation's state, whether or not it has any."""
        if entry := self._entries.pop(key, None):
            await self._drop(entry)
            async with self._freed:
                self._freed.notify()

    async def close_all(self) -> None:
        """End everything."""
        if self._reaper:
            self._reaper.cancel()
        await asyncio.gather(*(self.close(key) for key in list(self._entries)))

    async def _enter(self, key: str) -> _Entry:
        if self._reaper is None or self._reaper.done():
            self._reaper = asyncio.create_task(self._reap())
        entry = self._entries.get(key)
        if entry is None:
            await self._room()
            entry = self._entries.setdefault(key, _Entry())
        entry.waiting += 1
        return entry

    async def _room(self) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while len(self._entries) >= self.most:
                    idle = [
                        (entry.used, key)
                        for key, entry in self._entries.items()
                        if not entry.waiting and key not in self._open
                    ]
                    if idle:
                        await self._lose(min(idle)[1])
                        continue
                    async with self._freed:
                        await self._freed.wait()
        except TimeoutError:
            raise Busy from None

    async def _drop(self, entry: _Entry) -> None:
        state, entry.state = entry.state, None
        if state is not None:
            await self._end(state)

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(min(30.0, self.idle_s / 4))
            limit = time.monotonic() - self.idle_s
            for key, entry in list(self._entries.items()):
                if not entry.waiting and entry.used < limit:
                    await self._lose(key)

    async def _lose(self, key: str) -> None:
        if len(self.lost) < 10_000:
            self.lost.add(key)
        await self.close(key)
