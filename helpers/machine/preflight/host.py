"""Facts of the host: processors, memory and its limits, disks, ports, clock, processes."""

import contextlib
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from helpers.machine.preflight.machine import GIB, Disk, Holder
from helpers.processes import port_free, port_holder

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16", "sve")


def cpu_name() -> str:
    """The processor's name."""
    for line in _cpuinfo().splitlines():
        if line.lower().startswith(("model name", "cpu model")):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """The instruction sets that vLLM's CPU build asks about."""
    for line in _cpuinfo().splitlines():
        if line.lower().startswith(("flags", "features")):
            have = set(line.split(":", 1)[1].split())
            return [flag for flag in FLAGS if flag in have]
    return []


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return ""


def wsl() -> str:
    """The kernel's release where it is Microsoft's (WSL2), else ""."""
    release = platform.release()
    return release if "microsoft" in release.lower() else ""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory(cgroup: Path = Path("/sys/fs/cgroup")) -> tuple[float, float, bool]:
    """(total, available, is it a container's limit) in GiB; `cgroup` is for tests."""
    import psutil

    host = psutil.virtual_memory()
    total, available, limited = host.total, host.available, False
    for limit, usage in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):
            allowed = int((cgroup / limit).read_text())
            if allowed < total:
                used = int((cgroup / usage).read_text())
                total, available, limited = allowed, min(available, max(0, allowed - used)), True
    return total / GIB, available / GIB, limited


def shm_gib() -> float | None:
    """Size of /dev/shm."""
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return None
    return found.f_blocks * found.f_frsize / GIB


def disks(purposes: Mapping[str, Path]) -> dict[str, Disk]:
    """Free space for each purpose, at the nearest folder that exists."""
    found = {}
    for purpose, path in purposes.items():
        there = Path(path).expanduser()
        while not there.exists() and there != there.parent:
            there = there.parent
        with contextlib.suppress(OSError):
            space = os.statvfs(there)
            found[purpose] = Disk(str(path), space.f_bavail * space.f_frsize / GIB, os.access(there, os.W_OK))
    return found


def listener(port: int) -> str:
    """Who listens on a port ("" when it can be bound on loopback)."""
    return "" if port_free(port) else port_holder(port)


def strays() -> list[Holder]:
    """vLLM's engine and worker processes whose server is gone: their parent is the system's first process."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            title = process.name()
            if not title.startswith(("VLLM", "python", "vllm")):
                continue
            title = " ".join(process.cmdline()[:1]) or title
            if re.match(r"VLLM::", title) and _orphan(process):
                found.append(Holder(process.pid, title[:60], process.memory_info().rss / GIB))
    return found


def _orphan(process) -> bool:
    parent = process.parent()
    return parent is None or parent.pid == 1 or parent.name() in ("systemd", "init", "tini")
