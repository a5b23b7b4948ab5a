"""Reads the facts of `Machine` from the system; nothing here judges, and no fact that is missing raises."""

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helpers.machine.preflight import gpus, host, software
from helpers.machine.preflight.machine import Machine
from helpers.machine.stack.variables import unknown_variables
from helpers.paths import CACHE, RUNS, STACKS


def detect() -> Machine:
    """What this machine is: processors, accelerators, memory. A few milliseconds without a GPU."""
    return probe(ports=(), deep=False)


def probe(ports: Iterable[int] = (), deep: bool = True, network: bool = False) -> Machine:
    """Every fact of the machine; `deep` adds disks, packages, processes and leases, `network` asks the hub."""
    vendor, cards, driver, cuda, error = gpus.read()
    memory, available, limited = host.memory()
    return Machine(
        vendor=vendor,
        gpus=cards,
        driver=driver,
        cuda=cuda,
        gpu_error=error,
        cpu=host.cpu_name(),
        cores=host.cores(),
        architecture=platform.machine(),
        cpu_flags=host.cpu_flags(),
        memory_gib=memory,
        available_gib=available,
        limited=limited,
        python=platform.python_version(),
        year=time.gmtime().tm_year,
        **(_of_software(ports, network) if deep else {}),
    )


def _of_software(ports: Iterable[int], network: bool) -> dict[str, Any]:
    """The fields of `Machine` that are not of its processors and memory: disks, ports, tools, packages, processes, leases."""
    hub = software.hub_cache()
    skew, reach = software.ask_hub() if network else (None, None)
    stacks = software.stacks()
    variables = sorted(name for name in os.environ if name.startswith("VLLM_"))
    unknown = {name: unknown_variables(variables, site) for name, site in stacks.items()}
    compiled = os.environ.get("VLLM_CACHE_ROOT") or "~/.cache/vllm"
    living, stale = software.leases(CACHE / "leases")
    return {
        "shm_gib": host.shm_gib(),
        "disks": host.disks(
            {"weights": hub, "stacks": STACKS, "runs": RUNS, "cache": CACHE, "compile": Path(compiled).expanduser()}
        ),
        "ports": {port: host.listener(port) for port in ports if port},
        "tools": {"uv": software.uv(), "docker": software.docker()},
        "devices": gpus.device_files(),
        "token": software.token(),
        "cached": software.cached(hub),
        "hub": reach,
        "clock_skew_s": skew,
        "vocabulary": software.vocabulary(),
        "packages": {name: software.packages(site) for name, site in stacks.items()},
        "harmony": {name: software.harmony(site) for name, site in stacks.items()},
        "nvcc": software.nvcc(),
        "compiler": software.compiler(),
        "numa": software.loads("libnuma.so.1"),
        "headers": {name: software.headers(site) for name, site in stacks.items()},
        "pins": {name: software.torch_pin(site) for name, site in stacks.items()},
        "service_port": port if "://" in (port := os.environ.get("VLLM_PORT", "")) else "",
        "wsl": host.wsl(),
        "variables": variables,
        "unknown_variables": {name: found for name, found in unknown.items() if found is not None},
        "servers": living,
        "stale_leases": stale,
        "strays": host.strays(),
    }
