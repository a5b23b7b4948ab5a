"""The server's life: launch or attach, readiness, leases, stop."""

from helpers.processes import Identity, end_group, free_port, port_free
from helpers.server.launch import Report, Server, fingerprint, launch, print_phase, stop
from helpers.server.lease import Lease, leases, reap

__all__ = [
    "Identity",
    "Lease",
    "Report",
    "Server",
    "end_group",
    "fingerprint",
    "free_port",
    "launch",
    "leases",
    "port_free",
    "print_phase",
    "reap",
    "stop",
]
