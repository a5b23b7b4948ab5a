"""Which recipe fits a detected machine, or which is nearest and why."""

import re
from dataclasses import dataclass
from typing import Any

from helpers.recipes.files import load_target, target_names
from helpers.recipes.target import Target

MEMORY_SPREAD = 0.1  # drivers report less than the label says
OLDEST_NVIDIA = 8.0  # compute capability: vllm 0.32.0 quantization/mxfp4.py get_min_capability


@dataclass(frozen=True)
class SeenDevice:
    """One accelerator as its driver describes it; no device at all is `SeenDevice("cpu")`."""

    vendor: str  # nvidia, amd, intel or cpu
    name: str = ""
    compute_capability: str | None = None
    gfx: str | None = None
    memory_gib: float | None = None

    def words(self) -> str:
        """The device in words."""
        parts = [f"compute capability {self.compute_capability}" if self.compute_capability else "", self.gfx or ""]
        parts.append(f"{self.memory_gib:.0f} GiB" if self.memory_gib else "")
        told = ", ".join(part for part in parts if part)
        return (self.name or self.vendor) + (f" ({told})" if told else "")


@dataclass(frozen=True)
class Fit:
    """The recipe for a device; `exact` is False for the nearest one."""

    target: str
    exact: bool
    why: str


def best_target(device: SeenDevice) -> Fit:
    """The recipe that matches the device in every respect, else the nearest of its vendor, else cpu."""
    targets = [load_target(name) for name in target_names()]
    if device.vendor == "cpu":
        return Fit("cpu", True, "no accelerator was found")
    if device.vendor == "nvidia" and float(device.compute_capability or OLDEST_NVIDIA) < OLDEST_NVIDIA:
        why = f"{device.words()} is too old for MXFP4 weights (compute capability 8.0 or newer)"
        return Fit("cpu", False, why)
    own = [target for target in targets if target.match.vendor == device.vendor]
    if not own:
        return Fit("cpu", False, f"no recipe is for {device.vendor} devices")
    nearest = min(own, key=lambda target: _distance(target, device))
    differences = _differences(nearest, device)
    if not differences:
        return Fit(nearest.target, True, f"{device.words()} is {nearest.title}")
    wanted = nearest.match
    way = "it runs here, with that card's sizes"
    if wanted.compute_capability not in (None, device.compute_capability) or wanted.gfx not in (None, device.gfx):
        way = f"its preflight refuses this one: begin a recipe with `cookbook new-target NAME --like {nearest.target}`"
    but = f"{nearest.title} is nearest, but {', '.join(differences)}"
    return Fit(nearest.target, False, f"{device.words()} has no recipe of its own; {but}; {way}")


def _differences(target: Target, device: SeenDevice) -> list[str]:
    match, found = target.match, []
    if match.compute_capability and match.compute_capability != device.compute_capability:
        found.append(f"its compute capability is {match.compute_capability}")
    if match.gfx and match.gfx != device.gfx:
        found.append(f"it is {match.gfx}")
    if match.name and not re.search(match.name, device.name, re.IGNORECASE):
        found.append("the name differs")
    if match.memory_gib and not _memory_fits(match.memory_gib, device.memory_gib):
        found.append(f"it has {match.memory_gib:.0f} GiB")
    return found


def _memory_fits(wanted: float, seen: float | None) -> bool:
    return not seen or abs(seen - wanted) <= MEMORY_SPREAD * wanted  # a driver may not say


def _distance(target: Target, device: SeenDevice) -> tuple[Any, ...]:
    """Small for a near recipe: the same kernels first, then the name, then the memory."""
    match = target.match
    major = (device.compute_capability or "").split(".")[0]
    return (
        (match.compute_capability or "").split(".")[0] != major,
        (match.gfx or "")[:4] != (device.gfx or "")[:4],  # gfx9 (Instinct) and gfx12 (Radeon) share no kernels
        match.name is None or not re.search(match.name, device.name, re.IGNORECASE),
        match.compute_capability != device.compute_capability or match.gfx != device.gfx,
        abs((match.memory_gib or target.device.memory_gib or 0.0) - (device.memory_gib or 0.0)),
        target.target,
    )


def device_of(machine: Any) -> SeenDevice:
    """The device that a `helpers.machine.preflight.Machine` describes: its first GPU, or the processor."""
    if not machine.gpus:
        return SeenDevice("cpu")
    gpu = machine.gpus[0]
    return SeenDevice(machine.vendor, gpu.name, gpu.compute_capability or None, gpu.gfx or None, gpu.memory_gib)
