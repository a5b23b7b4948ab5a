"""Whether the accelerators suffice: pure functions of `Machine` and `Need`, one per fact."""

import re

from helpers.findings import NOTHING
from helpers.machine.preflight.machine import NOT_ASKED, Judged, Machine, Need
from helpers.recipes.matching import MEMORY_SPREAD

DRIVER_OF_CUDA = {"13": 580, "12": 525}  # oldest NVIDIA driver branch by CUDA major (CUDA release notes)
VENDORS = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel", "cpu": "no GPU"}
DEVICE_FILES = {"rocm": ("/dev/kfd", "/dev/dri"), "xpu": ("/dev/dri",)}
KERNEL_MODULE = {"rocm": "amdgpu", "xpu": "xe"}


def gpu_kind(machine: Machine, need: Need) -> Judged:
    """The vendor and the architecture: a recipe's kernels run on these and on no other."""
    if not need.gpu:
        return Judged(None, f"{machine.count} GPUs" if machine.gpus else "none", "none: this run uses the CPU")
    wanted = f"compute capability {need.compute_capability}" if need.compute_capability else need.gfx or ""
    wanted = f"{VENDORS[need.vendor]}{', ' + wanted if wanted else ''} ({need.gpu})"
    if not machine.gpus:
        fix = "run on that machine, or rehearse on the CPU with rehearse=true"
        return Judged(False, machine.gpu_error or "no GPU", wanted, fix)
    card = machine.gpus[0]
    seen = ", ".join(filter(None, [card.name, card.compute_capability or card.gfx]))
    if machine.vendor != need.vendor:
        return Judged(False, seen, wanted, "start_here.ipynb names the recipe of this machine")
    fits = (not need.compute_capability or card.compute_capability == need.compute_capability) and (
        not need.gfx or card.gfx == need.gfx
    )
    fix = f"`cookbook new-target NAME --like {need.target}` begins a recipe for this GPU (CONTRIBUTING.md)"
    return Judged(fits, seen, wanted, fix)


def gpu_model(machine: Machine, need: Need) -> Judged:
    """Name and memory: another card of the architecture runs the recipe, though not as the recipe says."""
    if not need.gpu or not machine.gpus or machine.vendor != need.vendor:
        return NOT_ASKED
    card, other = machine.gpus[0], []
    if need.gpu_name and not re.search(need.gpu_name, card.name, re.IGNORECASE):
        other.append(card.name)
    size = need.gpu_memory
    if size and card.memory_gib and abs(card.memory_gib - size) > MEMORY_SPREAD * size:
        other.append(f"{card.memory_gib:.0f} GiB")
    wanted = need.gpu + (f", {size:.0f} GiB" if size else "")
    return Judged(not other, ", ".join(other) or card.name, wanted)


def gpu_count(machine: Machine, need: Need) -> Judged:
    if not need.gpu:
        return Judged(None, str(machine.count), "0")
    fix = "lower tensor_parallel_size or replicas" if machine.count else "check the driver's own tool, or rehearse=True"
    return Judged(machine.count >= need.gpus, str(machine.count), f"{need.gpus}", fix)


def gpu_memory(machine: Machine, need: Need) -> Judged:
    if not need.gpu or not machine.gpus:
        return NOT_ASKED
    used = sorted(machine.gpus, key=lambda card: -card.free_gib)[: max(1, need.gpus)]
    least, needed = min(used, key=lambda card: card.free_gib), f"{need.gpu_free:.1f} GiB"
    if not least.memory_gib:
        return Judged(None, "the driver does not say", needed)
    holders = ", ".join(f"pid {h.pid} {h.name} {h.memory_gib:.1f} GiB" for card in used for h in card.holders)
    seen = f"{least.free_gib:.1f} of {least.memory_gib:.1f} GiB" + (f", held by {holders}" if holders else "")
    attached = need.port in machine.servers  # a server to attach to may hold it
    return Judged(least.free_gib >= need.gpu_free, seen, needed, required=not attached)


def budget(machine: Machine, need: Need) -> Judged:
    """Whether weights, working memory and KV cache fit at all: free or not, it would not start otherwise."""
    if not need.budget:
        return NOT_ASKED
    missing = f"{need.budget_missing:.1f} GiB per device missing: " if need.budget_missing > 0 else ""
    wanted = "weights, working memory and KV cache within the device"
    return Judged(need.budget_missing <= 0, missing + need.budget, wanted, need.budget_fix)


def mig(machine: Machine, need: Need) -> Judged:
    if not need.gpu or not machine.gpus or machine.vendor != "nvidia":
        return NOT_ASKED
    cut = ", ".join(str(card.index) for card in machine.gpus if card.mig)
    return Judged(not cut, f"on for GPU {cut}" if cut else "off", "off")


def driver(machine: Machine, need: Need) -> Judged:
    if not need.gpu or machine.vendor != "nvidia" or need.driver is None:
        return Judged(None, machine.driver or NOTHING, NOTHING)
    branch = int((machine.driver or "0").split(".")[0])
    seen = f"{machine.driver}, CUDA up to {machine.cuda}"
    return Judged(branch >= need.driver, seen, f"{need.driver} or newer")


def nvlink(machine: Machine, need: Need) -> Judged:
    if not need.gpu or need.tensor_parallel < 2 or machine.vendor != "nvidia" or not machine.gpus:
        return NOT_ASKED
    links = [card.links for card in machine.gpus[: need.gpus]]
    if all(count is None for count in links):
        return Judged(False, "none", "for tensor parallelism", "expect slower tensor parallelism")
    return Judged(all(links), f"{min(n or 0 for n in links)} active links on each GPU", "active links")


def fabric(machine: Machine, need: Need) -> Judged:
    """CUDA does not start on a host with NVSwitch before Fabric Manager has set its links up."""
    states = [card.fabric for card in machine.gpus if card.fabric]
    if not need.gpu or not states:
        return NOT_ASKED
    names = {1: "not started", 2: "in progress", 3: "complete"}
    return Judged(min(states) >= 3, names.get(min(states), str(min(states))), "complete")


def toolkit(machine: Machine, need: Need) -> Judged:
    """An nvcc that does not know Blackwell's consumer cards makes FlashInfer drop them."""
    first = need.gpu and machine.vendor == "nvidia" and machine.compute_capability
    if not first or not first.startswith("12."):
        return Judged(None, machine.nvcc or NOTHING, NOTHING)
    versions = machine.packages.get(need.stack, {})
    if "flashinfer-jit-cache" in versions or not machine.nvcc:
        return Judged(None, machine.nvcc or "no nvcc", "12.9 or newer, where FlashInfer compiles")
    digits = tuple(int(part) for part in re.findall(r"\d+", machine.nvcc)[:2])
    return Judged(digits >= (12, 9) if digits else None, machine.nvcc, "12.9 or newer for compute capability 12.x")


def fp8_cache(machine: Machine, need: Need) -> Judged:
    """Cards before Ada have no 8-bit floating point units, and vLLM ends at the first attention layer."""
    if not need.fp8_kv or machine.vendor != "nvidia" or not machine.compute_capability:
        return NOT_ASKED
    able = tuple(map(int, machine.compute_capability.split("."))) >= (8, 9)
    return Judged(able, f"compute capability {machine.compute_capability}", "8.9 or more for an fp8 KV cache")


def image(machine: Machine, need: Need) -> Judged:
    """The container's CUDA against the newest that the driver runs: the container would not start."""
    if not need.gpu or machine.vendor != "nvidia" or not machine.cuda or not need.driver:
        return NOT_ASKED
    wanted = max(major for major, branch in DRIVER_OF_CUDA.items() if branch <= need.driver)
    seen = f"the driver runs CUDA up to {machine.cuda}"
    return Judged(float(machine.cuda) >= float(wanted), seen, f"CUDA {wanted}, of the recipe's image")


def device_files(machine: Machine, need: Need) -> Judged:
    """The device files of ROCm and XPU: there, and open to this user."""
    paths = DEVICE_FILES.get(need.install)
    if not paths:
        return NOT_ASKED
    missing = [path for path in paths if not any(found.startswith(path) for found in machine.devices)]
    if missing:
        options = " ".join(f"--device={path}" for path in paths)
        fix = f"install the {KERNEL_MODULE[need.install]} driver; in a container add {options}"
        return Judged(False, f"no {' and no '.join(missing)}", " and ".join(paths), fix)
    closed = ", ".join(path for path, usable in machine.devices.items() if not usable and path.startswith(paths))
    return Judged(not closed, f"closed to this user: {closed}" if closed else "open", f"{' and '.join(paths)} open")
