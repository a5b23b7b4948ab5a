"""`cookbook serve`: a target's servers that stay until `cookbook stop`, and the rolling restart of those that run."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from helpers.errors import UsageError
from helpers.machine import preflight
from helpers.machine.interpreter import serving_stack
from helpers.paths import CACHE, ROOT
from helpers.recipes import Parameters, Target, check_parameters, load_model, load_target
from helpers.recipes.command.replicas import POLICY
from helpers.recipes.command.serve import Command
from helpers.runs.folder import new_folder
from helpers.server import Identity, Lease, Server, leases, print_phase
from helpers.server.replicas import MARK, ROUTER, VLLM, Replicas, launch_vllm
from helpers.server.serving import servings
from helpers.server.weights import checkpoint, describe
from maintain.fleet.rolling import Router, roll

Say = Callable[[str], None]
MIDDLEWARE = "helpers.instack.compat.Compatibility"


@dataclass(frozen=True)
class Wanted:
    """What is to be served: one command for each replica, and what it needs."""

    target: str
    port: int
    restart: bool
    commands: list[Command]
    interpreter: Path
    checkpoint: str


def wanted(target: Target, parameters: Parameters, say: Say, middleware: bool = False) -> Wanted:
    """The servers of a target with these parameters, their stack and weights on disk. Raises what is wrong with them."""
    if not parameters.port:
        raise UsageError("port 0 is no address to come back to", do="name one: -p port 8000")
    _, serving = servings(target, load_model(parameters.model), parameters)
    interpreter, versions = serving_stack(serving.target.stack.install, parameters.install)
    say(" · ".join(f"{name} {version}" for name, version in versions.items()))
    folder = checkpoint(serving, interpreter, CACHE / "models")
    say(f"{serving.model.model}: {describe(folder)}{serving.draft_note()}")
    command = serving.command(folder, parameters.port)
    commands = serving.replicas(behind_rules(command) if middleware else command)
    restart = parameters.restart == "on-failure"
    return Wanted(serving.target.target, parameters.port, restart, commands, interpreter, folder)


def behind_rules(command: Command) -> Command:
    """The command with the cookbook's middleware, found from any folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return command.changed({"--middleware": (MIDDLEWARE,)}, {"PYTHONPATH": path})


def serve(
    name: str, given: Mapping[str, Any], policy: str = POLICY, say: Say = print, middleware: bool = False
) -> VLLM | Replicas:
    """Start a target's server, or its replicas behind the router, or attach to those that run so; they stay."""
    target = load_target(name)
    parameters = check_parameters(target, given)
    preflight.check(target, parameters).raise_if_failed()
    want = wanted(target, parameters, say, middleware)
    return launch_vllm(
        want.commands,
        want.interpreter,
        port=want.port,
        log=new_folder(name) / "server.log",
        target=want.target,
        checkpoint=want.checkpoint,
        report=print_phase,
        policy=policy,
        kept=True,
        restart=want.restart,
    )


def restart(name: str, given: Mapping[str, Any], say: Say = print, middleware: bool = False) -> Replicas:
    """Restart the replicas behind the router on the port of `given` one by one, with the commands of today's recipe."""
    target = load_target(name)
    fleet = running(check_parameters(target, given).port)
    want = wanted(target, check_parameters(target, {**given, "replicas": len(fleet.servers)}), say, middleware)
    roll(fleet, want.commands, want.interpreter, want.checkpoint, say)
    return fleet


def running(port: int) -> Replicas:
    """The router on `port` and its replicas in the order in which they were started, from their leases."""
    found = {lease.port: lease for lease in leases() if lease.running()}
    front = found.get(port)
    if front is None or front.argv[: len(ROUTER)] != list(ROUTER):
        raise UsageError(f"the cookbook runs no router on port {port}", do="see `cookbook status`, then pass -p port N")
    ports = [int(url.rpartition(":")[2]) for url in Router(front.base_url).replicas()]
    if strangers := [port for port in ports if port not in found]:
        raise UsageError(f"the cookbook did not start what runs on port {strangers[0]}", do="restart it by hand")
    members = sorted((found[port] for port in ports), key=place)
    owner = Identity.of(psutil.Process().pid)

    def server(lease: Lease) -> Server:
        return Server(lease, Path(lease.log), True, {"total": 0.0}, owner)

    commands = [Command("", lease.model, lease.port) for lease in members]  # the old words are of no use
    servers = [VLLM(**vars(server(lease)), command=own) for lease, own in zip(members, commands, strict=True)]
    return Replicas(server(front), servers, {"total": 0.0})


def place(lease: Lease) -> int:
    """The number of a replica among its like, which says which devices are its own."""
    return int(psutil.Process(lease.server.pid).environ().get(MARK, 0))
