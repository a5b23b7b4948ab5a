"""`cookbook status`: the servers on lease, as a table."""

from datetime import UTC, datetime

from helpers.processes import group_members
from helpers.runs.memory import pss_gib
from helpers.server import Lease, leases
from helpers.server.replicas import ROUTER


def status_rows() -> list[dict[str, str]]:
    """One row per lease: target, model, port, state, age, memory (GiB), owners, restarts with their causes."""
    now = datetime.now(UTC)
    return [row_of(lease, now) for lease in leases()]


def row_of(lease: Lease, now: datetime) -> dict[str, str]:
    owners = ", ".join(f"pid {owner.pid}{'' if owner.alive() else ' (gone)'}" for owner in lease.owners)
    # the clock may have jumped
    seconds = max(0, int((now - datetime.fromisoformat(lease.started)).total_seconds()))
    return {
        "target": lease.target,
        "model": f"{lease.model}, the router" if ROUTER[-1] in lease.argv else lease.model,
        "port": str(lease.port),
        "state": "running" if lease.running() else "gone",
        "age": f"{seconds // 60} min {seconds % 60:02} s",
        "memory": f"{pss_gib(group_members(lease.server)):.1f} GiB",
        "owner": "kept" if lease.kept else owners or "none",
        "restarts": "; ".join(f"{one.at}: {one.cause}" for one in lease.restarts) or "0",
    }


def status_table() -> str:
    """The rows as text; a plain sentence when there are none."""
    rows = status_rows()
    if not rows:
        return "no server of the cookbook is running"
    names = list(rows[0])
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    lines = ["  ".join(name.ljust(widths[name]) for name in names)]
    lines += ["  ".join(row[name].ljust(widths[name]) for name in names) for row in rows]
    return "\n".join(lines)
