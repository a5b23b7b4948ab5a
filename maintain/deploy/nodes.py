"""One server over several nodes: vLLM's own processes (`--nnodes`) or Ray, a script for every node from one recipe."""

import ipaddress
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import UsageError
from helpers.recipes import Model, Parameters, Target
from helpers.recipes.budget import Budget, memory_budget
from helpers.recipes.command import Command
from helpers.recipes.command.serve import Flags
from maintain.deploy.order import Order

MASTER_PORT, CHECK_PORT, RAY_PORT = 29501, 29502, 6379
# A step that a lost node never finishes ends the server after so long; the default is 300 (vllm 0.32.0 envs.py).
STEP_S = 120
CHECK = Path(__file__).parent / "node_check.py"


@dataclass(frozen=True)
class Nodes:
    """The hosts of one server, the head first, and the interface that connects them."""

    addresses: tuple[str, ...]
    interface: str
    step_s: int = STEP_S

    def __post_init__(self) -> None:
        if len(self.addresses) < 2 or len(set(self.addresses)) != len(self.addresses):
            raise UsageError("two nodes or more are needed, each with an address of its own", do="pass --address twice")
        for one in self.addresses:
            try:
                ipaddress.IPv4Address(one)
            except ValueError:
                raise UsageError(f"{one!r} is no IPv4 address", do="name each node's") from None
        if not re.fullmatch(r"[\w.@-]{1,15}", self.interface):
            raise UsageError(
                f"{self.interface!r} names no interface", do="pass its name as `ip -brief address` shows it"
            )

    @property
    def head(self) -> str:
        return self.addresses[0]


def spread(target: Target, model: Model, parameters: Parameters, total: int, nodes: int) -> Parameters:
    """The parameters whose flags a server split over `total` devices of `nodes` hosts gets.

    Those of the whole size where the target offers it, else those of one node's share. Raises `UsageError` for a size
    that does not divide.
    """
    share, left = divmod(total, nodes)
    if left or not share:
        raise UsageError(f"{total} devices cannot be shared by {nodes} nodes", do=f"choose a multiple of {nodes}")
    if target.device.per_host and share > target.device.per_host:
        why = f"{target.target} has {target.device.per_host} a host"
        raise UsageError(f"{share} devices a node are too many", why=why, do="add nodes, or choose a smaller size")
    if model.model != "gpt-oss-nano":
        shares = {
            "attention heads": model.geometry.attention_heads,
            "width of the experts": model.geometry.intermediate_size,
        }
        for what, count in shares.items():
            if count % total:
                raise UsageError(f"size {total} does not divide gpt-oss's {count} {what}", do="choose 2, 4, 8 or 16")
    offered = target.models[model.model].tensor_parallel_size
    size = total if total in offered else share if share in offered else offered[0]
    return parameters.model_copy(update={"tensor_parallel_size": size})


def budget(target: Target, model: Model, parameters: Parameters, total: int) -> Budget:
    """The memory of one device when the server is split over `total`."""
    return memory_budget(target, model, parameters.model_copy(update={"tensor_parallel_size": total}))


def commands(command: Command, target: Target, total: int, nodes: Nodes) -> list[Command]:
    """One command for each node, by vLLM's own processes: the head answers, the others only compute."""
    found = []
    for rank, address in enumerate(nodes.addresses):
        own = {**flags(total, str(len(nodes.addresses)), str(rank), nodes.head), **({"--headless": ()} if rank else {})}
        found.append(command.changed(own, environment(target, nodes, address)))
    return found


def flags(total: int, count: str, rank: str, head: str) -> Flags:
    """What makes a server of `total` devices one of `count` nodes; all but the first may be a variable's name."""
    return {
        "--tensor-parallel-size": (str(total),),
        "--distributed-executor-backend": ("mp",),
        "--nnodes": (count,),
        "--node-rank": (rank,),
        "--master-addr": (head,),
        "--master-port": (str(MASTER_PORT),),
    }


def environment(target: Target, nodes: Nodes, address: str) -> dict[str, str]:
    """What one node's processes find each other by, and how long they wait for one that is lost."""
    return {"VLLM_HOST_IP": address, **connection(target, nodes.interface, nodes.step_s)}


def connection(target: Target, interface: str, step_s: int = STEP_S) -> dict[str, str]:
    """The interface that the processes of all nodes meet on, and the seconds after which a step counts as lost."""
    nccl = {"NCCL_SOCKET_IFNAME": interface} if target.match.vendor in ("nvidia", "amd") else {}
    return {"GLOO_SOCKET_IFNAME": interface, **nccl, "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": str(step_s)}


def check_words(nodes: Nodes, rank: int) -> list[str]:
    """The arguments of node_check.py on one node."""
    own = ["--rank", str(rank), "--interface", nodes.interface, "--port", str(CHECK_PORT)]
    return [*own, "--addresses", *nodes.addresses]


def scripts(order: Order, nodes: Nodes) -> dict[str, str]:
    """File name -> text: the check, and for every node a script with vLLM's own processes."""
    texts = {CHECK.name: CHECK.read_text(encoding="utf-8")}
    memory = budget(order.target, order.model, order.parameters, order.size).line()
    for rank, one in enumerate(commands(order.command, order.target, order.size, nodes)):
        role = f"the head: it answers on port {one.port}" if rank == 0 else "computes only, and ends when the head does"
        exports, served = one.shell().split("\nvllm serve", 1)
        start = f"exec {_following(nodes, rank)}vllm serve{served}"  # a signal to the script reaches the server
        texts[f"node-{rank}.sh"] = _script(rank, nodes, role, memory, f"{exports}\n{start}")
    return texts


def _following(nodes: Nodes, rank: int) -> str:
    """What a node's server is run by, so that it ends with the head: vLLM 0.32.0 waits for a lost one without a limit.

    v1/executor/multiproc_executor.py: the worker takes the head's next word by `dequeue(indefinite=True)`. The head's own
    process group listens on the master port as long as it lives, which the check's `--follow` holds a connection to.
    """
    words = ["python3", f"./{CHECK.name}", *check_words(nodes, rank), "--follow", str(MASTER_PORT)]
    return f"{shlex.join(words)} \\\n    " if rank else ""


def ray_scripts(order: Order, nodes: Nodes) -> dict[str, str]:
    """File name -> text: the check, and for every node a script that joins a Ray cluster; the head serves on it."""
    if order.target.match.vendor == "cpu":
        why = 'vLLM 0.32.0 has no Ray resource for a CPU: platforms/interface.py, ray_device_key is ""'
        raise UsageError("Ray cannot spread a CPU server", why=why, do="use the form nodes")
    spread_by = {"--tensor-parallel-size": (str(order.size),), "--distributed-executor-backend": ("ray",)}
    texts = {CHECK.name: CHECK.read_text(encoding="utf-8")}
    memory = budget(order.target, order.model, order.parameters, order.size).line()
    for rank, address in enumerate(nodes.addresses):
        settings = environment(order.target, nodes, address)
        if rank:
            exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in settings.items())
            lines = f"{exports}\nexec ray start --address={nodes.head}:{RAY_PORT} --node-ip-address={address} --block"
        else:
            start = f"ray start --head --port={RAY_PORT} --node-ip-address={address} --disable-usage-stats"
            exports, served = order.command.changed(spread_by, settings).shell().split("\nvllm serve", 1)
            lines = f"{exports}\n{start}\n{_joined(order.size)}\nexec vllm serve{served}"
        role = "the head of the Ray cluster" if rank == 0 else "joins the head's Ray cluster"
        texts[f"node-{rank}.sh"] = _script(rank, nodes, role, memory, lines)
    return texts


def _joined(devices: int) -> str:
    """A shell line that waits until so many GPUs have joined the cluster."""
    count = "import ray; ray.init('auto'); print(int(ray.cluster_resources().get('GPU', 0)))"
    return f'until [ "$(python3 -c "{count}" 2> /dev/null | tail -1)" = {devices} ]; do sleep 2; done'


def _script(rank: int, nodes: Nodes, role: str, memory: str, lines: str) -> str:
    check = shlex.join(["python3", f"./{CHECK.name}", *check_words(nodes, rank)])
    return f"""#!/usr/bin/env bash
# Node {rank}, {nodes.addresses[rank]}: {role}. Start it with the vLLM environment active, all nodes within five minutes.
# Memory of one device: {memory}
set -euo pipefail
cd "$(dirname "$0")"
{check}
{lines}
"""
