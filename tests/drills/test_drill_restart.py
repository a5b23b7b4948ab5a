"""Drill on supervision: a request ends one of two replicas under load, and everything comes back by itself."""

from pathlib import Path

import pytest
from damage import Place

from benchmarks.recovery import fleet, recovered

drill = pytest.mark.drill
pytestmark = pytest.mark.full


@drill("the seeded request that ends a CPU server without the recipe's remedy, to one of two replicas under load")
def test_a_replica_comes_back(place: Place, interpreter: Path, checkpoint: Path, said) -> None:
    """the replica is started anew with the cause on file, the router uses both again, every client that resends is answered"""
    servers = fleet(interpreter, checkpoint, place.folder)
    try:
        seen = recovered(servers)
        assert seen.lost == 0 and seen.answered and seen.restarts and all("S26" in cause for cause in seen.restarts)
        assert all(seen.after), "the router sends requests to both again"
        said(f"back after {seen.back_s:.0f} s, {seen.resent} requests sent again, none lost: {seen.restarts[0]}")
    finally:
        servers.stop()
