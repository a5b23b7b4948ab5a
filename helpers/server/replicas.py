"""vLLM launched by its Command: one server, or replicas that start together behind vLLM's router.

The router is `vllm-router`, from the workbench's own environment. It has a lease like any server, so that
`cookbook status` shows it, and ends with its owner.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.keys import authorised
from helpers.processes import free_port
from helpers.recipes.command.replicas import POLICY, router_words
from helpers.recipes.command.serve import Command
from helpers.server.launch import Report, Server, check_port, launch, print_phase
from helpers.server.lease import Lease, leases

ROUTER = (sys.executable, "-m", "helpers.server.router")
MARK = "COOKBOOK_REPLICA"  # tells replicas of the same command apart, so that none attaches to another


@dataclass
class VLLM(Server):
    """A vLLM server, and the command that it really runs with."""

    command: Command

    @property
    def commands(self) -> list[Command]:
        return [self.command]


@dataclass
class Replicas:
    """Used like a `Server`: requests go to the router's address, `stop` ends the router and every replica."""

    router: Server
    servers: list[VLLM]
    startup_s: dict[str, float]

    @property
    def commands(self) -> list[Command]:
        """Every replica's command; `router.lease.argv` is the router's."""
        return [server.command for server in self.servers]

    @property
    def lease(self) -> Lease:
        return self.router.lease

    @property
    def log(self) -> Path:
        return self.servers[0].log

    @property
    def attached(self) -> bool:
        return all(server.attached for server in self.servers)

    @property
    def base_url(self) -> str:
        return self.router.base_url

    @property
    def model(self) -> str:
        return self.router.model

    def running(self) -> bool:
        return all(server.running() for server in [self.router, *self.servers])

    def healthy(self) -> bool:
        """Whether the router and every replica answer `/health`."""
        return all(server.healthy() for server in [self.router, *self.servers])

    def members(self) -> list[int]:
        """The pids of all processes, the router's included."""
        return [pid for server in [self.router, *self.servers] for pid in server.members()]

    def shared(self) -> bool:
        """Whether somebody else uses one of them, so that it goes on without this owner."""
        return any(server.shared() for server in [self.router, *self.servers])

    def stop(self) -> str:
        """Let go of the router, then of the replicas; returns the lines to show."""
        lines = [self.router.stop()]
        with ThreadPoolExecutor(len(self.servers)) as pool:
            lines += pool.map(Server.stop, self.servers)
        return "\n".join(lines)


def launch_vllm(
    commands: Sequence[Command],
    interpreter: Path,
    *,
    port: int,
    log: Path,
    target: str,
    checkpoint: str = "",
    report: Report = print_phase,
    policy: str = POLICY,
    **options: Any,
) -> VLLM | Replicas:
    """Start vLLM by a command with the stack's `interpreter`, or attach to what runs so already.

    Several commands are replicas: they start at once, then the router on `port`, which chooses by `policy`. Their logs are
    `log`, and beside it the same name with `-1`, `-2`, ... and `-router`. Where one does not start, the others are stopped and
    its error is raised. `target` is what the leases name; `options` (kept, timeout, owner_pid) are those of `launch`.
    """
    folder = Path(checkpoint) if checkpoint and Path(checkpoint).is_dir() else None
    options |= {"target": target, "checkpoint": folder}
    if len(commands) == 1:
        return _launched(commands[0], interpreter, {}, log=log, report=report, **options)
    if not any(lease.port == port for lease in leases()):
        check_port(port)  # now, not when the replicas are up

    def start(number: int) -> VLLM:
        own_log = log.with_stem(f"{log.stem}-{number}") if number else log
        mine = report if number == 0 else lambda phase, seconds, line: _only_ready(report, number, phase, seconds, line)
        return _launched(commands[number], interpreter, {MARK: str(number)}, log=own_log, report=mine, **options)

    with ThreadPoolExecutor(len(commands)) as pool:
        starts = [pool.submit(start, number) for number in range(len(commands))]
        errors = [error for future in starts if (error := future.exception())]
    servers = [future.result() for future in starts if not future.exception()]
    try:
        if errors:
            raise errors[0]
        ports = [server.lease.port for server in servers]
        front = launch(
            [*ROUTER, *router_words(ports, port, free_port(), policy)],
            {},
            port=port,
            log=log.with_stem(f"{log.stem}-router"),
            report=lambda *_: None,
            model=commands[0].model,
            # with a key it is another router: it answers nobody without
            identity=[*ROUTER, *router_words(ports, 0, 0, policy), *authorised()],
            **options | {"checkpoint": None},
        )
    except BaseException:
        for server in servers:
            server.stop()
        raise
    report("router", front.startup_s["total"], f"{front.base_url} in front of {len(servers)} replicas")
    slowest = max((server.startup_s for server in servers), key=lambda phases: phases["total"])
    return Replicas(front, servers, slowest)


def _launched(command: Command, interpreter: Path, mark: dict[str, str], **options: Any) -> VLLM:
    identity = command.on_port(0).run_by(interpreter)
    server = launch(
        command.run_by(interpreter),
        command.env | mark,
        port=command.port,
        model=command.model,
        identity=identity,
        **options,
    )
    return VLLM(**vars(server), command=command.on_port(server.lease.port))  # one that ran already has another port


def _only_ready(report: Report, number: int, phase: str, seconds: float, line: str) -> None:
    """The replicas after the first say only that they are there: their phases are the first one's."""
    if phase in ("ready", "attached"):
        report(phase, seconds, f"replica {number}: {line}")
