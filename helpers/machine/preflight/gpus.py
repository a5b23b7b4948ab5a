"""Accelerators: NVIDIA through its management library, AMD and Intel through the kernel's own files."""

import contextlib
import os
from pathlib import Path

from helpers.machine.preflight import intel as intel_files
from helpers.machine.preflight.machine import GIB, Gpu, Holder

MAX_LINKS = 18  # NVLink links of one GPU, H100 to B300
Found = tuple[str, list[Gpu], str | None, str | None, str]  # vendor, GPUs, driver, CUDA, error


def read() -> Found:
    """The vendor, the GPUs, the driver, the newest CUDA it runs, and why nothing was found although there is a device."""
    return nvidia() or amd() or intel() or ("cpu", [], None, None, _unread())


def _unread() -> str:
    if Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists():
        return "an NVIDIA device is there, but its management library does not answer"
    if Path("/dev/kfd").exists():
        return "an AMD device is there, but the kernel lists no GPU for this user"
    return ""


def nvidia() -> Found | None:
    """NVIDIA GPUs, or None without a driver."""
    try:
        import pynvml as nvml

        nvml.nvmlInit()
    except Exception:  # no library, no driver, no permission: all mean that there is nothing to report
        return None
    try:
        cards = [_nvidia_card(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
        version = nvml.nvmlSystemGetCudaDriverVersion_v2()
        driver = nvml.nvmlSystemGetDriverVersion()
        return "nvidia", cards, _text(driver), f"{version // 1000}.{version % 1000 // 10}", ""
    except nvml.NVMLError as error:
        return "nvidia", [], None, None, str(error)
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _nvidia_card(nvml, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        total, free = memory.total / GIB, memory.free / GIB
    except nvml.NVMLError:  # GB10 shares the host's memory and reports none of its own
        import psutil

        host = psutil.virtual_memory()
        total, free = host.total / GIB, host.available / GIB
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    mig = False
    with contextlib.suppress(nvml.NVMLError):
        mig = nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE
    holders = []
    with contextlib.suppress(nvml.NVMLError):
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            holders.append(Holder(process.pid, process_name(process.pid), (process.usedGpuMemory or 0) / GIB))
    return Gpu(
        index,
        _text(nvml.nvmlDeviceGetName(handle)),
        total,
        free,
        f"{major}.{minor}",
        mig=mig,
        links=_links(nvml, handle),
        fabric=_fabric(nvml, handle),
        holders=holders,
    )


def _links(nvml, handle) -> int | None:
    active = None
    for link in range(MAX_LINKS):
        try:
            active = (active or 0) + int(nvml.nvmlDeviceGetNvLinkState(handle, link))
        except nvml.NVMLError:
            break
    return active


def _fabric(nvml, handle) -> int | None:
    """The state of the NVSwitch fabric as Fabric Manager left it, on cards that have one (Hopper and newer)."""
    info = getattr(nvml, "c_nvmlGpuFabricInfo_t", None)
    if info is None:
        return None
    try:
        found = info()
        nvml.nvmlDeviceGetGpuFabricInfo(handle, nvml.byref(found))
        return int(found.state)
    except (nvml.NVMLError, AttributeError, TypeError):
        return None


def process_name(pid: int) -> str:
    """The command of a process, short; '?' when it belongs to another container or is gone."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return " ".join(psutil.Process(pid).cmdline()[:2])[:60] or "?"
    return "?"


def amd(kfd: Path = Path("/sys/class/kfd/kfd/topology/nodes"), drm: Path = Path("/sys/class/drm")) -> Found | None:
    """AMD GPUs from the kernel's topology, or None; the arguments are for tests."""
    cards: list[Gpu] = []
    for node in sorted(kfd.glob("*/properties"), key=lambda path: int(path.parent.name)):
        facts = dict(line.split(None, 1) for line in intel_files.read(node).splitlines() if " " in line)
        version = int(facts.get("gfx_target_version", 0))
        if not version:
            continue  # a CPU node
        card = drm / f"renderD{facts.get('drm_render_minor', '').strip()}" / "device"
        total = float(intel_files.read(card / "mem_info_vram_total") or 0) / GIB
        used = float(intel_files.read(card / "mem_info_vram_used") or 0) / GIB
        name = intel_files.read(card / "product_name").strip() or f"AMD {gfx_name(version)}"
        cards.append(Gpu(len(cards), name, total, max(0.0, total - used), gfx=gfx_name(version)))
    if not cards:
        return None
    driver = intel_files.read(Path("/sys/module/amdgpu/version")).strip() or None
    return "amd", cards, driver, None, ""


def intel(root: Path = Path("/")) -> Found | None:
    """Intel's discrete GPUs, or None; `root` is for tests."""
    cards = intel_files.cards(root)
    return ("intel", cards, intel_files.driver(root), None, "") if cards else None


def gfx_name(version: int) -> str:
    """The architecture of the kernel's number: 90402 is gfx942, 90010 is gfx90a, 120001 is gfx1201."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def device_files() -> dict[str, bool]:
    """The device files of AMD and Intel GPUs that exist, and whether this user may open them."""
    found = {}
    for path in ("/dev/kfd", *map(str, sorted(Path("/dev/dri").glob("renderD*"))[:1])):
        if os.path.exists(path):
            found[path] = os.access(path, os.R_OK | os.W_OK)
    return found
