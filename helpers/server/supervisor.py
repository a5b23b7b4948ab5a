"""The process that owns a server: it starts it in a session of its own and ends it when its owners are gone.

Asked for it, it starts a server anew that had answered and then ended by itself, `RESTARTS` times an hour at most.

Run as `python -m helpers.server.supervisor` with a request as JSON on standard input. The server's
environment is the supervisor's own, so that a key never lies in a file or in an argument list. It exits
with the server's code, which is how the launcher learns it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from helpers.processes import Identity, end_group, ending_with_parent, group_members, healthy
from helpers.server.lease import Lease, Restart, change, ending_if_unowned, read

POLL_SECONDS = 0.2
RESTARTS, WITHIN_S = 3, 3600.0  # a server that ends more often than that needs a person


def supervise(request: dict[str, Any]) -> int:
    """Start the server, hold its lease, and see it out; returns its last exit code as a shell would show it."""
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server, leader, offset = _start(request)
    lease = Lease(
        supervisor=Identity.of(os.getpid()),
        server=leader,
        owners=[Identity(**owner) for owner in request["owners"]],
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        **request["lease"],
    )
    try:
        lease.write()  # on a full disk it fails, and the server must not stay behind
        answered = False
        ended: list[float] = []
        while not stopping:
            time.sleep(POLL_SECONDS)
            answered = answered or (lease.restart and healthy(lease.port))
            lease = read(lease.path) or lease  # owners come and go through the file
            if server.poll() is not None:
                ended = [*(then for then in ended if time.monotonic() - then < WITHIN_S), time.monotonic()]
                if not answered or len(ended) > RESTARTS or not lease.owned():
                    break
                end_group(leader)  # what the API server left
                cause = why(request["log"], offset)
                server, leader, offset = _start(request)
                lease = change(lease, restarted(leader, cause)) or lease
            if not lease.owned():  # an attach may be under way: look again under the lock
                lease = change(lease, ending_if_unowned) or replace(lease, ending=True)
                stopping = stopping or lease.ending
    finally:
        if group_members(leader):  # the API server alone may be gone: its engine and workers outlive it
            end_group(leader)
        code = server.wait()
        lease.remove()
    return code if code >= 0 else 128 - code


def _start(request: dict[str, Any]) -> tuple[subprocess.Popen[bytes], Identity, int]:
    """Start the server; with its process comes where its lines begin in the log."""
    with open(request["log"], "ab") as log:
        offset = log.tell()
        server = subprocess.Popen(
            request["argv"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # a supervisor that is killed outright takes the API server with it, which ends its engine
            preexec_fn=ending_with_parent(signal.SIGTERM),
            cwd=request["cwd"],
        )
    return server, Identity.of(server.pid), offset


def why(log: str, offset: int) -> str:
    """What the doctor says of a server's end: the known failure, else its first exception; never an exception of its own."""
    try:
        from helpers.doctor.explain import diagnose, open_log

        with open_log(log) as lines:
            lines.seek(offset)
            return diagnose(lines).verdict
    except Exception as error:
        return f"the log could not be read: {type(error).__name__}"


def restarted(leader: Identity, cause: str) -> Callable[[Lease], Lease]:
    """The edit that puts the new process into the lease, with the cause of the old one's end."""
    entry = Restart(datetime.now(UTC).isoformat(timespec="seconds"), cause)
    return lambda lease: replace(lease, server=leader, restarts=[*lease.restarts, entry])


if __name__ == "__main__":
    sys.exit(supervise(json.load(sys.stdin)))
