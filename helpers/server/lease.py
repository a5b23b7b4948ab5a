"""The lease of a running server: who it is, who uses it, where its log lies. One JSON file each.

Leases let a re-run attach instead of starting twice, let `cookbook status` find what runs, and make sure
that only recorded groups are ever signalled.
"""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from helpers.files import alone, write_whole
from helpers.paths import CACHE
from helpers.processes import Identity, end_group, group_members, host

FOLDER = CACHE / "leases"


@dataclass(frozen=True)
class Restart:
    """A server that ended by itself and was started anew."""

    at: str  # UTC
    cause: str


@dataclass(frozen=True)
class Lease:
    """A server that the cookbook started: its processes, its port, its owners."""

    id: str
    supervisor: Identity
    server: Identity  # the leader of the server's own session and group
    port: int
    fingerprint: str
    log: str
    started: str  # UTC
    target: str
    model: str
    argv: list[str]
    owners: list[Identity] = field(default_factory=list)
    kept: bool = False  # goes on when every owner is gone, until `cookbook stop`
    restart: bool = False  # its supervisor starts it anew when it ends by itself
    restarts: list[Restart] = field(default_factory=list)
    ending: bool = False  # its supervisor is ending it: nobody may attach any more
    host: str = field(default_factory=host)  # hosts may share a checkout: another's pids mean nothing here

    @property
    def path(self) -> Path:
        return path_of(self.id)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def owned(self) -> bool:
        """Whether somebody still wants the server."""
        return self.kept or any(owner.alive() for owner in self.owners)

    def running(self) -> bool:
        """Whether the server and the supervisor that would end it both live."""
        return self.server.alive() and self.supervisor.alive()

    def write(self) -> None:
        write_whole(self.path, json.dumps(asdict(self), indent=1))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def path_of(identity: str) -> Path:
    """The file of the lease with this id."""
    return FOLDER / f"{identity}.json"


def read(path: Path) -> Lease | None:
    """The lease in a file; None when it is gone or not a lease."""
    try:
        data = json.loads(path.read_text())
        for name in ("supervisor", "server"):
            data[name] = Identity(**data[name])
        data["owners"] = [Identity(**owner) for owner in data["owners"]]
        data["restarts"] = [Restart(**one) for one in data.get("restarts", [])]
        return Lease(**data)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def leases() -> list[Lease]:
    """Every lease of this host on file, the oldest first."""
    found = [lease for path in FOLDER.glob("*.json") if (lease := read(path)) and lease.host == host()]
    return sorted(found, key=lambda lease: lease.started)


def locked(name: str) -> AbstractContextManager[None]:
    """Hold a named lock among all processes of this checkout (it goes with its holder)."""
    return alone(FOLDER / f"{name}.lock")


def change(lease: Lease, edit: Callable[[Lease], Lease]) -> Lease | None:
    """Read the lease again, edit it and write it, all under one lock. None when it is gone."""
    with locked("leases"):
        current = read(lease.path)
        if current is not None:
            current = edit(current)
            current.write()
        return current


def with_owner(owner: Identity) -> Callable[[Lease], Lease]:
    """The edit that adds an owner (unless the server is ending), and forgets those that are gone."""

    def edit(lease: Lease) -> Lease:
        others = [other for other in lease.owners if other != owner and other.alive()]
        return lease if lease.ending else replace(lease, owners=[*others, owner])

    return edit


def without_owner(owner: Identity) -> Callable[[Lease], Lease]:
    """The edit that drops an owner."""
    return lambda lease: replace(lease, owners=[o for o in lease.owners if o != owner and o.alive()])


def ending_if_unowned(lease: Lease) -> Lease:
    """The edit by which a supervisor closes an abandoned server to further attaches."""
    return replace(lease, ending=lease.ending or not lease.owned())


def reap() -> list[Lease]:
    """End what a supervisor that was killed left behind, and drop the leases of servers that are gone."""
    ended = []
    for lease in leases():
        if not lease.supervisor.alive():
            if group_members(lease.server):
                end_group(lease.server)
                ended.append(lease)
            lease.remove()
    return ended
