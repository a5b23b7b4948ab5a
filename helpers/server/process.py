"""Processes by identity: a pid alone may have been given to somebody else, so each is kept with its start time."""

import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Identity:
    """One process, for good: its pid and its start in clock ticks since boot."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        start = start_ticks(pid)
        return None if start is None else cls(pid, start)

    def alive(self) -> bool:
        """Whether exactly this process still runs (a zombie does not)."""
        fields = _stat(self.pid)
        return bool(fields) and int(fields[19]) == self.start and fields[0] not in "ZX"


def group_members(leader: Identity) -> list[int]:
    """The pids of the living processes of the session that `leader` led, whether or not it lives itself.

    A process counts only when both its group and its session are the leader's and it is not older than
    the leader: a number that the system gave to strangers later is never mistaken for ours.
    """
    now = start_ticks(leader.pid)
    if now is not None and now != leader.start:
        return []  # the number belongs to somebody else now, so the old group is empty
    members = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            state, group, session, start = fields[0], int(fields[2]), int(fields[3]), int(fields[19])
            if session == leader.pid and group == leader.pid and start >= leader.start and state not in "ZX":
                members.append(int(entry))
    return members


def cpu_seconds(leader: Identity) -> float:
    """The CPU time that a group's living processes have taken, with that of the children they waited for."""
    taken = [fields[11:15] for pid in group_members(leader) if (fields := _stat(pid))]
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


def port_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could bind this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def listens(port: int, pids: list[int]) -> bool:
    """Whether one of these processes listens on the port."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for fields in map(str.split, Path(table).read_text().splitlines()[1:]):
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A is LISTEN
                    sockets.add(f"socket:[{fields[9]}]")
    for pid in pids:
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{number}") in sockets:
                        return True
    return False


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def port_holder(port: int) -> str:
    """Who listens on a port, as `pid 4711 (python)`, or "another process" when that cannot be seen."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "another process"
