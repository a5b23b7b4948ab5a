"""The forms of `cookbook deploy`: a recipe and what was asked for become an order, and the order becomes files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from helpers.errors import UsageError
from helpers.paths import CACHE
from helpers.recipes import check_parameters, load_model, load_target
from helpers.recipes.command import serve_command
from helpers.recipes.command import tools as tool_servers
from helpers.server.serving import Serving
from helpers.server.weights import named_weights
from maintain.deploy import kubernetes, nodes, platforms
from maintain.deploy.fragments import HOST_GIB, disaggregated, extended, server_script
from maintain.deploy.order import Order


@dataclass(frozen=True)
class Asked:
    """What surrounds a server, as the command line has it."""

    size: int = 0  # devices of one server, on all its nodes; 0: the recipe's, on each
    nodes: int = 1  # hosts of one server
    most: int = 0  # copies under load, the most
    fragments: tuple[str, ...] = ()
    host_gib: int = HOST_GIB
    tools: bool = False
    sidecars: bool = False  # the tool servers in each server's own pod
    addresses: tuple[str, ...] = ()
    interface: str = ""


def rendered(form: str, target: str, given: Mapping[str, Any], asked: Asked) -> dict[str, str]:
    """File name -> text of a form. Raises `UsageError` for what does not go together."""
    if (asked.tools or asked.sidecars) and form != "kubernetes":
        raise UsageError(f"the form {form} has no place for tool servers", do="choose kubernetes")
    if "data-parallel" in asked.fragments and form != "server":
        raise UsageError(f"the form {form} counts no data-parallel GPUs", do="try the fragment with the form server")
    hosts = nodes.Nodes(asked.addresses, asked.interface) if form in ("nodes", "ray") else None
    order = _order(target, given, asked)
    if hosts:
        return (nodes.scripts if form == "nodes" else nodes.ray_scripts)(order, hosts)
    return RENDERERS[form](order)


def _order(name: str, given: Mapping[str, Any], asked: Asked) -> Order:
    target = load_target(name)
    parameters = check_parameters(target, {key: value for key, value in given.items() if value})
    if asked.nodes < 1 or (asked.most and asked.most < parameters.replicas):
        raise UsageError("nodes and copies are counted from 1, the most not below the fewest", do="correct the numbers")
    model = load_model(parameters.model)
    served = named_weights(Serving(target, parameters, model), CACHE / "models")
    size = asked.size or parameters.tensor_parallel_size * asked.nodes
    own = nodes.spread(target, model, parameters, size, asked.nodes)
    command = extended(
        serve_command(target, model, own, served, parameters.port), list(asked.fragments), asked.host_gib
    )
    offloaded = asked.host_gib * size // asked.nodes if "kv-offload" in asked.fragments else 0
    order = Order(target, model, own, command, asked.nodes, size, offloaded, asked.most, asked.sidecars)
    if not (asked.tools or asked.sidecars):
        return order
    hosts = dict.fromkeys(tool_servers.COMPOSE, kubernetes.POD if asked.sidecars else f"{order.name}-tools")
    return replace(order, command=command.with_tools(tool_servers.addresses(hosts), tool_servers.MCP_LABELS))


def _kubernetes(order: Order) -> dict[str, str]:
    return kubernetes.cluster(order) if order.nodes == 1 else kubernetes.leader_worker_set(order)


def _server(order: Order) -> dict[str, str]:
    memory = nodes.budget(order.target, order.model, order.parameters, order.size).line()
    return {"server.sh": server_script(order.command, f"memory of one device by the recipe: {memory}")}


RENDERERS: dict[str, Callable[[Order], dict[str, str]]] = {
    "server": _server,
    "disaggregated": lambda order: disaggregated(order.command, order.target, order.parameters),
    "kubernetes": _kubernetes,
    "helm": platforms.helm,
    "dynamo": platforms.dynamo,
    "skypilot": platforms.skypilot,
    "slurm": platforms.slurm,
}
