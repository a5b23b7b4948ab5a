"""The process that owns a server: it starts it in a session of its own and ends it when its owners are gone.

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
from dataclasses import replace
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from helpers.processes import Identity, end_group, ending_with_parent, group_members
from helpers.server.lease import Lease, change, ending_if_unowned, read

POLL_SECONDS = 0.2


def supervise(request: dict[str, Any]) -> int:
    """Start the server, hold its lease, and see it out; returns its exit code as a shell would show it."""
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(request["log"], "ab") as log:
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
    leader = Identity.of(server.pid)
    lease = Lease(
        supervisor=Identity.of(os.getpid()),
        server=leader,
        owners=[Identity(**owner) for owner in request["owners"]],
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        **request["lease"],
    )
    try:
        lease.write()  # on a full disk it fails, and the server must not stay behind
        while server.poll() is None and not stopping:
            time.sleep(POLL_SECONDS)
            lease = read(lease.path) or lease  # owners come and go through the file
            if not lease.owned():  # an attach may be under way: look again under the lock
                lease = change(lease, ending_if_unowned) or replace(lease, ending=True)
                stopping = stopping or lease.ending
    finally:
        if group_members(leader):  # the API server alone may be gone: its engine and workers outlive it
            end_group(leader)
        code = server.wait()
        lease.remove()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(supervise(json.load(sys.stdin)))
