"""The outside of a resident interpreter: start, feed one call, read its hostile output, end it."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field

from helpers.errors import CookbookError
from helpers.tools.sandbox.limits import CallOutcome, Limits, note
from helpers.tools.sandbox.watch import Watch
from helpers.tools.text import harmless, shorten

CHUNK = 65_536
MAX_CODE = 1_000_000  # bytes of one program


@dataclass
class Launch:
    """How to start one interpreter: argv, the whole environment, and what Popen needs beside them."""

    argv: list[str]
    env: dict[str, str]
    options: dict = field(default_factory=dict)  # user, group, extra_groups, pass_fds
    opened: list[int] = field(default_factory=list)  # descriptors to close here once started
    base_processes: int = 1  # processes of the launcher itself in the tree
    count_limit: int = 0  # of processes in the tree; 0: the kernel bounds them
    tree_bytes: int = 0

    def fault(self, timeout_s: float) -> str:
        """Start it once, without input: empty where it ends well, else why it does not."""
        try:
            done = subprocess.run(
                self.argv, env=self.env, input=b"", capture_output=True, timeout=timeout_s, **self.options
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        finally:
            for descriptor in self.opened:
                os.close(descriptor)
        said = done.stderr.decode("utf-8", "replace").strip()[-300:]
        return (said or f"exit code {done.returncode}") if done.returncode else ""


class Interpreter:
    """One sandboxed interpreter of one conversation. Not for concurrent calls: its owner takes turns."""

    def __init__(self, launch: Launch, limits: Limits, watch: Watch):
        self.launch, self.limits, self.watch = launch, limits, watch
        self.process: asyncio.subprocess.Process | None = None
        self._errors: deque[bytes] = deque(maxlen=8)
        self._tasks: list[asyncio.Task] = []
        self._verdict = ""

    async def start(self) -> "Interpreter":
        """Start it and wait until it answers; raises CookbookError with the sandbox's own words."""
        try:
            self.process = await asyncio.create_subprocess_exec(
                *self.launch.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self.launch.env,
                start_new_session=True,
                limit=2 * CHUNK,
                **self.launch.options,
            )
        except OSError as error:
            raise CookbookError("the sandbox did not start", why=str(error)) from error
        finally:
            for descriptor in self.launch.opened:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._tasks.append(asyncio.create_task(self._drain_errors()))
        self.watch.add(self.process.pid, self._look)
        try:
            outcome = await self._call(b"", self.limits.start_s)
        except BaseException:  # its client went away while it started
            self.abandon()
            raise
        if outcome.status != "ok":
            said = b"".join(self._errors).decode("utf-8", "replace").strip()
            await self.end()
            raise CookbookError("the sandbox did not start", why=(said or outcome.text or outcome.status)[-600:])
        return self

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None and not self._verdict

    async def run(self, code: str) -> CallOutcome:
        """Run one cell; whatever happens inside, this returns within the limits. Cancelling ends the sandbox."""
        data = code.encode("utf-8", "replace")
        if len(data) > MAX_CODE:
            return CallOutcome("error", f"[The program is longer than {MAX_CODE} bytes and was not run.]")
        started = time.monotonic()
        self.watch.busy(+1)
        try:
            outcome = await self._call(data, self.limits.seconds)
        except BaseException:
            self.abandon()
            raise
        finally:
            self.watch.busy(-1)
        if not outcome.alive:
            await self.end()
        return CallOutcome(outcome.status, outcome.text, outcome.written, time.monotonic() - started)

    async def _call(self, data: bytes, seconds: float) -> CallOutcome:
        assert self.process and self.process.stdin and self.process.stdout, "started before"
        nonce = secrets.token_hex(16)
        head = json.dumps({"nonce": nonce, "size": len(data), "seconds": seconds}).encode() + b"\n"
        output = Output(nonce, self.limits)
        try:
            async with asyncio.timeout(seconds + self.limits.grace_s):
                self.process.stdin.write(head + data)
                await self.process.stdin.drain()
                while not output.done:
                    piece = await self.process.stdout.read(CHUNK)
                    if not piece:
                        output.status = self._verdict or "died"
                        break
                    output.take(piece)
        except TimeoutError:
            output.status = "killed-time"
        except (BrokenPipeError, ConnectionResetError):
            output.status = self._verdict or "died"
        return output.outcome()

    def _look(self, count: int, resident: int) -> None:
        """The watch's report: kill the tree that holds more than it may."""
        verdict = ""
        if self.launch.tree_bytes and resident > self.launch.tree_bytes:
            verdict = "killed-memory"
        elif self.launch.count_limit and count - self.launch.base_processes > self.launch.count_limit:
            verdict = "killed-processes"
        if verdict and not self._verdict:
            self._verdict = verdict
            self._kill()

    def _kill(self) -> None:
        if self.process and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    def abandon(self) -> None:
        """Kill the sandbox without waiting: what a cancelled task can still do."""
        if self.process is None:
            return
        self._verdict = self._verdict or "cancelled"
        self._kill()
        self.watch.remove(self.process.pid)

    async def end(self) -> None:
        """Kill the sandbox and wait until it is gone. Safe to call twice."""
        self.abandon()
        if self.process is None or self.process.stdout is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                while await self.process.stdout.read(CHUNK):  # a full pipe would keep asyncio from seeing the end
                    pass
                await self.process.wait()
        for task in self._tasks:
            task.cancel()
        if self.process.stdin:
            self.process.stdin.close()

    async def _drain_errors(self) -> None:
        assert self.process and self.process.stderr, "started before"
        while piece := await self.process.stderr.read(4096):
            self._errors.append(piece)


class Output:
    """Collects one call's bytes between its two markers, keeping head and tail within the limits."""

    def __init__(self, nonce: str, limits: Limits):
        self.begin = b"\n\0BEGIN " + nonce.encode() + b"\n"
        self.end = b"\n\0END " + nonce.encode() + b" "
        self.limits, self.status, self.written = limits, "", 0
        self.begun = False
        self.keep = 4 * limits.output_chars + 4096  # UTF-8 takes at most four bytes a character
        self.head, self.tail, self.dropped = b"", b"", 0

    @property
    def done(self) -> bool:
        return bool(self.status)

    def take(self, piece: bytes) -> None:
        """Take the next bytes; a flood ends the call. Bytes before the begin marker belong to nobody."""
        self.written += len(piece)
        data = self.tail + piece
        if not self.begun:
            _before, marker, after = data.partition(self.begin)
            if not marker:
                self.tail = data[-len(self.begin) :]
                self._flood()
                return
            self.begun, data = True, after
        position = data.find(self.end)
        if position >= 0:
            word, newline, _ = data[position + len(self.end) :].partition(b"\n")
            if newline:
                status = word.decode("ascii", "replace")
                self.status = status if status in ("ok", "error", "time") else "error"
                data = data[:position]
        room = self.keep - len(self.head)
        spare = len(self.end) + 16  # a marker may be cut between two pieces
        if room > 0 and len(data) > spare:
            moved = min(room, len(data) - spare)
            self.head, data = self.head + data[:moved], data[moved:]
        tail = data if self.status else data[-(self.keep + spare) :]
        self.dropped += len(data) - len(tail)
        self.tail = tail
        if not self.status:
            self._flood()

    def _flood(self) -> None:
        if self.written > self.limits.flood_bytes:
            self.status = "killed-output"

    def outcome(self) -> CallOutcome:
        """The call as the model sees it: bounded, harmless text and a note where it was stopped."""
        raw = (self.head + self.tail if self.begun else b"").decode("utf-8", "replace")
        text = shorten(harmless(raw), self.limits.output_chars, self.dropped).rstrip("\n")
        text = "\n".join(part for part in (text, note(self.status, self.limits)) if part)
        return CallOutcome(self.status, text or "[no output]", self.written)
