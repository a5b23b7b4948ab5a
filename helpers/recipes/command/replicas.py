"""Replicas: one server per group of devices, and the router that gives them one address. Pure."""

from collections.abc import Sequence

from helpers.recipes import Parameters, Target
from helpers.recipes.command.serve import Command

VISIBLE = {"nvidia": "CUDA_VISIBLE_DEVICES", "amd": "HIP_VISIBLE_DEVICES", "intel": "ZE_AFFINITY_MASK"}
# By what each replica has in flight. `round_robin` counts what it gave only: a replica that pauses gathers nearly all requests
# (511 of 512 on two H100, studies/h100; tests/test_router_balance.py). Where a prompt's beginning is cached counts only if the
# servers have `--enable-scale-out`: the router asks them for a prompt's tokens (`/render`), which vllm 0.32.0 else refuses (403).
POLICY = "cache_aware"
# A request that has ended one replica must not be sent to the next. One that is gone is left out after three failed requests or
# four seconds, and taken back within five (the router's own: 5 tries, out after ten failures or three looks, a minute apart).
# A replica that has the beginning of prompts keeps such requests until it has five and a tenth more than another (the router's
# own: 65 and a half, with which one of two replicas kept all of 32 that began alike).
CARE = (
    *("--balance-abs-threshold", "4", "--balance-rel-threshold", "1.1"),
    *("--disable-retries", "--cb-failure-threshold", "3", "--cb-window-duration-secs", "10"),
    *("--cb-timeout-duration-secs", "5", "--health-check-interval-secs", "2"),
    *("--health-failure-threshold", "2", "--health-success-threshold", "1"),
)


def devices(target: Target, parameters: Parameters, replica: int) -> list[str]:
    """The device numbers of one replica, in order of replicas; none on a CPU."""
    if target.match.vendor == "cpu":
        return []
    size = parameters.tensor_parallel_size
    return [str(number) for number in range(replica * size, (replica + 1) * size)]


def visible(target: Target, parameters: Parameters, replica: int) -> dict[str, str]:
    """The variable that shows a replica its own devices only; empty for a single copy and on a CPU."""
    chosen = devices(target, parameters, replica)
    return {VISIBLE[target.match.vendor]: ",".join(chosen)} if chosen and parameters.replicas > 1 else {}


def replica_commands(command: Command, target: Target, parameters: Parameters, ports: Sequence[int]) -> list[Command]:
    """One command for each replica: on a port of its own, with devices of its own in sight."""
    return [
        command.on_port(port).changed({}, visible(target, parameters, replica)) for replica, port in enumerate(ports)
    ]


def router_words(ports: Sequence[int], port: int, metrics_port: int, policy: str = POLICY) -> list[str]:
    """The arguments of `vllm-router`: the replicas' `ports` behind `port`, all of it on loopback.

    The router would publish its own metrics on port 29000 otherwise, which a second one could not share.
    """
    urls = [f"http://127.0.0.1:{own}" for own in ports]
    metrics = f"--prometheus-host 127.0.0.1 --prometheus-port {metrics_port}".split()
    return [*f"--host 127.0.0.1 --port {port} --policy {policy} --worker-urls".split(), *urls, *metrics, *CARE]
