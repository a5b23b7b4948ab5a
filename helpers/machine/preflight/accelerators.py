"""Whether the accelerators suffice: pure functions of `Machine` and `Need`, one per fact."""

import re

from helpers.machine.preflight.machine import Machine
from helpers.machine.preflight.need import Check, Need
from helpers.recipes.matching import MEMORY_SPREAD

DRIVER_OF_CUDA = {"13": 580, "12": 525}  # oldest NVIDIA driver branch by CUDA major (CUDA release notes)
VENDORS = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel", "cpu": "no GPU"}


def gpu_kind(machine: Machine, need: Need) -> Check:
    """The vendor and the architecture: a recipe's kernels run on these and on no other."""
    if not need.gpu:
        seen = f"{machine.count} GPUs" if machine.gpus else "none"
        return Check("GPU", None, seen, "none: this run uses the CPU")
    wanted = f"compute capability {need.compute_capability}" if need.compute_capability else need.gfx or ""
    wanted = f"{VENDORS[need.vendor]}{', ' + wanted if wanted else ''} ({need.gpu})"
    if not machine.gpus:
        return Check(
            "GPU",
            False,
            machine.gpu_error or "no GPU",
            wanted,
            "run on that machine, or rehearse on the CPU with rehearse=true",
        )
    card = machine.gpus[0]
    seen = ", ".join(filter(None, [card.name, card.compute_capability or card.gfx]))
    fits = (
        machine.vendor == need.vendor
        and (not need.compute_capability or card.compute_capability == need.compute_capability)
        and (not need.gfx or card.gfx == need.gfx)
    )
    fix = (
        "start_here.ipynb names the recipe of this machine"
        if machine.vendor != need.vendor
        else f"`cookbook new-target NAME --like {need.target}` begins a recipe for this GPU (CONTRIBUTING.md)"
    )
    return Check("GPU", fits, seen, wanted, fix)


def gpu_model(machine: Machine, need: Need) -> Check:
    """Name and memory: another card of the architecture runs the recipe, though not as the recipe says."""
    if not need.gpu or not machine.gpus or machine.vendor != need.vendor:
        return Check("GPU model", None, "–", "–")
    card, other = machine.gpus[0], []
    if need.gpu_name and not re.search(need.gpu_name, card.name, re.IGNORECASE):
        other.append(card.name)
    size = need.gpu_memory
    if size and card.memory_gib and abs(card.memory_gib - size) > MEMORY_SPREAD * size:
        other.append(f"{card.memory_gib:.0f} GiB")
    wanted = need.gpu + (f", {size:.0f} GiB" if size else "")
    return Check(
        "GPU model",
        not other,
        ", ".join(other) or card.name,
        wanted,
        "the recipe runs here, its figures and recommended sizes are another card's",
        False,
    )


def gpu_count(machine: Machine, need: Need) -> Check:
    if not need.gpu:
        return Check("GPU count", None, str(machine.count), "0")
    fix = "lower tensor_parallel_size or replicas" if machine.count else "check the driver's own tool, or rehearse=True"
    return Check("GPU count", machine.count >= need.gpus, str(machine.count), f"{need.gpus}", fix)


def gpu_memory(machine: Machine, need: Need) -> Check:
    if not need.gpu or not machine.gpus:
        return Check("GPU memory free", None, "–", "–")
    used = sorted(machine.gpus, key=lambda card: -card.free_gib)[: max(1, need.gpus)]
    least = min(used, key=lambda card: card.free_gib)
    if not least.memory_gib:
        return Check("GPU memory free", None, "the driver does not say", f"{need.gpu_free:.1f} GiB")
    holders = ", ".join(f"pid {h.pid} {h.name} {h.memory_gib:.1f} GiB" for card in used for h in card.holders)
    seen = f"{least.free_gib:.1f} of {least.memory_gib:.1f} GiB" + (f", held by {holders}" if holders else "")
    return Check(
        "GPU memory free",
        least.free_gib >= need.gpu_free,
        seen,
        f"{need.gpu_free:.1f} GiB",
        "`cookbook stop` ends the cookbook's servers; ask the owner of any other process",
        required=need.port not in machine.servers,
    )  # a server to attach to may hold it


def budget(machine: Machine, need: Need) -> Check:
    """Whether weights, working memory and KV cache fit at all: free or not, it would not start otherwise."""
    if not need.budget:
        return Check("Memory budget", None, "–", "–")
    missing = f"{need.budget_missing:.1f} GiB per device missing: " if need.budget_missing > 0 else ""
    wanted = "weights, working memory and KV cache within the device"
    return Check("Memory budget", need.budget_missing <= 0, missing + need.budget, wanted, need.budget_fix)


def mig(machine: Machine, need: Need) -> Check:
    if not need.gpu or not machine.gpus or machine.vendor != "nvidia":
        return Check("MIG", None, "–", "–")
    cut = [card.index for card in machine.gpus if card.mig]
    return Check(
        "MIG",
        not cut,
        f"on for GPU {', '.join(map(str, cut))}" if cut else "off",
        "off",
        "ask the administrator for a whole GPU",
    )


def driver(machine: Machine, need: Need) -> Check:
    if not need.gpu or machine.vendor != "nvidia" or need.driver is None:
        return Check("Driver", None, machine.driver or "–", "–")
    have = int((machine.driver or "0").split(".")[0])
    return Check(
        "Driver",
        have >= need.driver,
        f"{machine.driver}, CUDA up to {machine.cuda}",
        f"{need.driver} or newer",
        "install a newer driver, or a wheel for an older CUDA (F16)",
    )


def nvlink(machine: Machine, need: Need) -> Check:
    if not need.gpu or need.tensor_parallel < 2 or machine.vendor != "nvidia" or not machine.gpus:
        return Check("NVLink", None, "–", "–")
    links = [card.links for card in machine.gpus[: need.gpus]]
    if all(count is None for count in links):
        return Check("NVLink", False, "none", "for tensor parallelism", "expect slower tensor parallelism", False)
    return Check(
        "NVLink",
        all(links),
        f"{min(n or 0 for n in links)} active links on each GPU",
        "active links",
        "expect slower tensor parallelism; replicas need no links",
        False,
    )


def device_files(machine: Machine, need: Need) -> Check:
    """The device files of ROCm and XPU: there, and open to this user."""
    wanted = {"rocm": ("/dev/kfd", "/dev/dri"), "xpu": ("/dev/dri",)}.get(need.install)
    if not wanted:
        return Check("Device files", None, "–", "–")
    missing = [path for path in wanted if not any(found.startswith(path) for found in machine.devices)]
    if missing:
        options, module = (
            " ".join(f"--device={path}" for path in wanted),
            {"rocm": "amdgpu", "xpu": "xe"}[need.install],
        )
        return Check(
            "Device files",
            False,
            f"no {' and no '.join(missing)}",
            " and ".join(wanted),
            f"install the {module} driver; in a container add {options}",
        )
    closed = [path for path, usable in machine.devices.items() if not usable and path.startswith(wanted)]
    return Check(
        "Device files",
        not closed,
        f"closed to this user: {', '.join(closed)}" if closed else "open",
        f"{' and '.join(wanted)} open",
        "join the groups render and video, then log in again",
    )
