"""Follows a server's log and says what is new in it: ready, a known failure, a request that failed, silence, the end."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from helpers.doctor.diagnosis import Diagnosis

TICK = 1.0  # seconds between two looks at the log's size
SETTLE = 5  # ticks after which a log that grows all the time is read
SHARE = 10  # reading takes at most one part in this many of the time
QUIET = 600  # seconds without a new line before the server is ready


def watch(
    log: Path,
    read: Callable[[Path], Diagnosis],
    codes: list[int],
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[str]:
    """What is new, as it happens, until the server ended or was told to stop; `codes` gets each diagnosis's exit code.

    The log is read when it has come to rest, or every few seconds: half a traceback would name the wrong cause.
    """
    told: set[str] = set()
    size = seen = ticks = 0
    changed, rest = clock(), 0.0
    if not log.exists():
        yield f"waiting for {log.name}"
    while True:
        now = log.stat().st_size if log.exists() else 0
        if now < seen:
            yield "the log began anew"
            told, seen = set(), 0
        ticks = ticks + 1 if now > seen else 0
        if now > seen and (now == size or ticks >= SETTLE) and clock() >= rest:
            began = clock()
            found = read(log)
            codes.append(found.exit_code)
            rest, seen, ticks = began + SHARE * (clock() - began), now, 0
            for key, text in news(found):
                if key not in told:
                    told.add(key)
                    yield text
            if found.fatal or found.stopped:
                return
        if now != size:
            size, changed = now, clock()
        elif clock() - changed > QUIET and not told & {"ready", "quiet"}:
            told.add("quiet")
            yield f"nothing new for {QUIET // 60} minutes, and the server is not ready"
        pause(TICK)


def news(found: Diagnosis) -> list[tuple[str, str]]:
    """What a diagnosis tells, each with a name by which it is told once."""
    out = [("ready", "the server is ready")] if found.started else []
    out += [(wrong, wrong) for wrong in found.wrong_backends]
    if found.fatal:
        return [*out, ("fatal", found.text())]
    for cause in found.causes:
        known = cause.signature
        out.append((known.id, f"{known.id} [{cause.kind}] {known.title} (line {cause.line}): {known.fix}"))
    if found.request and not found.cause:
        out.append((found.exception or "", found.verdict))
    return [*out, ("stopped", found.verdict)] if found.stopped else out
