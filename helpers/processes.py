"""Processes by identity: a pid alone may have been given to somebody else, so each is kept with its start time.

psutil gives everything but that start: its public one follows the wall clock, and a lease must outlive a clock's jump.
"""

import contextlib
import http.client
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from helpers.keys import authorised

TERM_SECONDS = 10.0  # vLLM ends its engine in 2-5 s after SIGTERM; then the group is killed
KILL_SECONDS = 10.0


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the command's name (state first), or None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: unlike a wall-clock time, it survives clock jumps."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


@cache
def host() -> str:
    """What a pid and a loopback address are good for: this boot of this machine, in its process and network namespaces."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return "-".join([boot, *(str(os.stat(f"/proc/self/ns/{kind}").st_ino) for kind in ("pid", "net"))])


@dataclass(frozen=True)
class Identity:
    """One process, for good: its pid and its start in clock ticks since boot."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """The process that has this pid now. Raises `ProcessLookupError` where none has."""
        start = start_ticks(pid)
        if start is None:
            raise ProcessLookupError(f"there is no process {pid}")
        return cls(pid, start)

    def alive(self) -> bool:
        """Whether exactly this process still runs (a zombie does not)."""
        fields = _stat(self.pid)
        return fields is not None and int(fields[19]) == self.start and fields[0] not in "ZX"


def group_members(leader: Identity) -> list[int]:
    """The pids of the living processes of the session that `leader` led, whether or not it lives itself.

    A process counts only when both its group and its session are the leader's and it is not older than
    the leader: a number that the system gave to strangers later is never mistaken for ours.
    """
    now = start_ticks(leader.pid)
    if now is not None and now != leader.start:
        return []  # the number belongs to somebody else now, so the old group is empty
    members = []
    for pid in psutil.pids():
        if fields := _stat(pid):
            state, group, session, start = fields[0], int(fields[2]), int(fields[3]), int(fields[19])
            if session == leader.pid and group == leader.pid and start >= leader.start and state not in "ZX":
                members.append(pid)
    return members


def cpu_seconds(pids: Iterable[int]) -> float:
    """The CPU time that processes have taken, with that of the children they waited for; 0 for those that ended."""
    taken = [fields[11:15] for pid in pids if (fields := _stat(pid))]
    return sum(int(ticks) for four in taken for ticks in four) / os.sysconf("SC_CLK_TCK")


def end_group(leader: Identity, term_seconds: float = TERM_SECONDS) -> None:
    """End the whole group: SIGTERM, wait, SIGKILL, wait. Nothing outside the group is signalled.

    A stopped process cannot act on SIGTERM, so the group is continued first.
    """
    for number, seconds in ((signal.SIGTERM, term_seconds), (signal.SIGKILL, KILL_SECONDS)):
        if not group_members(leader):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader.pid, number)
            os.killpg(leader.pid, signal.SIGCONT)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not group_members(leader):
                return
            time.sleep(0.05)


def port_free(port: int) -> bool:
    """Whether a server could bind this port of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(port: int, pids: list[int]) -> bool:
    """Whether one of these processes listens on the port."""
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            if any(_listening(connection, port) for connection in psutil.Process(pid).net_connections("tcp")):
                return True
    return False


def _listening(connection, port: int) -> bool:
    return connection.status == psutil.CONN_LISTEN and connection.laddr.port == port


def healthy(port: int) -> bool:
    """Whether a server answers `/health` on the port (a plain socket: httpx would cost the first cell half a second)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:  # vLLM answers without a key, the router does not
        connection.request("GET", "/health", headers=authorised())
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    """A port of loopback that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def port_holder(port: int) -> str:
    """Who holds a port, as `pid 4711 (python)`, or "another process" when that cannot be seen."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if _listening(connection, port) and connection.pid:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "the system (a port below 1024 needs root)" if port < 1024 and os.geteuid() else "another process"


def ending_with_parent(number: int) -> Callable[[], None]:
    """For `preexec_fn`: the child gets this signal when the process that started it is gone, however that ended."""
    import ctypes

    return lambda: ctypes.CDLL(None).prctl(1, number)  # 1 is PR_SET_PDEATHSIG (linux/prctl.h)
