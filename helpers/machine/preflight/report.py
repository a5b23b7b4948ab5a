"""What a run needs, what the machine has, and the table that says so."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helpers.errors import CookbookError
from helpers.findings import Findings
from helpers.machine.preflight.accelerators import DRIVER_OF_CUDA
from helpers.machine.preflight.judge import judge
from helpers.machine.preflight.machine import GIB, Machine, Need
from helpers.machine.preflight.probe import probe
from helpers.machine.stack.environment import disk_gib
from helpers.machine.weights.checkpoint import check_checkpoint
from helpers.paths import STACKS
from helpers.recipes import Model, Parameters, Target, check_parameters, load_model, load_target
from helpers.recipes import budget as budgets
from helpers.recipes.block import serve_block

HOST_GIB = 8.0  # host memory of vLLM's processes beside a GPU: Python, torch and staging buffers (estimate)


@dataclass(frozen=True, repr=False)
class Report(Findings):
    """Everything that was looked at on one machine for one run."""

    target: str
    machine: Machine

    @property
    def title(self) -> str:
        return f"{self.target}: {'ready' if self.passed else f'{len(self.failed)} missing'}  ({self.machine.line()})"

    @property
    def refusal(self) -> str:
        return f"this machine is not ready for {self.target}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "target": self.target,
            "ok": self.passed,
            "machine": asdict(self.machine),
            "checks": [asdict(finding) | {"mark": finding.mark} for finding in self.findings],
        }


def requirement(target: Target, parameters: Parameters, machine: Machine | None = None) -> Need:
    """What this run asks of a machine; a rehearsal asks what the CPU target asks."""
    if parameters.rehearse and target.stack.install != "cpu":
        cpu = load_target("cpu")
        return requirement(cpu, check_parameters(cpu, {"port": parameters.port}), machine)
    model = load_model(parameters.model)
    on_cpu = target.stack.install == "cpu"
    alike = machine is not None and on_cpu == (not machine.gpus)  # else the recipe's own memory counts
    memory = machine.device_memory_gib if machine and alike else None
    budget = budgets.memory_budget(target, model, parameters, memory)
    options = [] if budget.fits else budgets.alternatives(target, model, parameters, budget, memory)
    fix = "what would fit: " + "; ".join(options) if options else "nothing that this recipe offers would fit"
    installed = (STACKS / target.stack.install / ".ready").exists()
    from_hub = parameters.weights_kind == "hub" and not (machine and model.hub_id in machine.cached)
    size = model.weights.bytes / GIB
    each = max(0.0, budget.weights + budget.working + budget.start) if on_cpu else HOST_GIB
    return Need(
        target=target.target,
        vendor=target.match.vendor,
        install=target.stack.install,
        stack="existing" if parameters.install == "existing" else target.stack.install,
        gpu="" if on_cpu else target.title,
        compute_capability=target.match.compute_capability,
        gfx=target.match.gfx,
        gpu_name=target.match.name,
        gpu_memory=target.match.memory_gib,
        gpus=0 if on_cpu else parameters.tensor_parallel_size * parameters.replicas,
        tensor_parallel=parameters.tensor_parallel_size,
        gpu_free=0.0 if on_cpu else budget.usable,
        host_memory=each * parameters.replicas,
        architecture=target.stack.architecture,
        driver=_driver(target),
        weights_disk=(model.download.bytes / GIB if from_hub and model.download else 0.0),
        stack_disk=0.0 if installed or parameters.install == "existing" else disk_gib(target.stack.install),
        cache_disk=size * 1.1 if parameters.weights in ("synthetic", "nano") else 0.0,
        hub_id=(model.hub_id or "") if parameters.weights_kind == "hub" else "",
        folder=parameters.weights if parameters.weights_kind == "path" else "",
        folder_fault=_folder_fault(parameters.weights, model) if parameters.weights_kind == "path" else "",
        fp8_kv="fp8" in str(getattr(serve_block(target, model, parameters).args.get("kv-cache-dtype"), "value", "")),
        mxfp4_on_cpu=on_cpu and model.weights.precision == "mxfp4",
        port=parameters.port,
        budget=budget.line(),
        budget_missing=budget.missing,
        budget_fix=fix,
    )


def _driver(target: Target) -> int | None:
    """The oldest NVIDIA driver branch that a recipe takes; None where it asks for none."""
    if target.stack.install != "cuda":
        return None
    named = re.search(r"\b(\d{3})\b", target.stack.driver or "")
    return int(named[1]) if named else DRIVER_OF_CUDA["13"]


def _folder_fault(folder: str, model: Model) -> str:
    """Why a folder is no checkpoint of the model, "" when it is one (only headers are read)."""
    try:
        check_checkpoint(Path(folder).expanduser(), model)
    except CookbookError as error:
        return error.why or error.what
    return ""


def check(
    target: Target | str, parameters: Parameters | None = None, *, network: bool = False, machine: Machine | None = None
) -> Report:
    """Probe this machine (or judge a given one) for a run; less than three seconds without `network`."""
    target = load_target(target) if isinstance(target, str) else target
    parameters = parameters or check_parameters(target)
    machine = machine or probe(ports=(parameters.port,), network=network)
    return Report(judge(machine, requirement(target, parameters, machine)), target.target, machine)
