"""Intel's discrete GPUs from the kernel's own files: no library of Intel's is asked."""

import contextlib
import re
from pathlib import Path

from helpers.machine.preflight.machine import GIB, Gpu

VENDOR = "0x8086"
DRIVERS = ("xe", "i915")
# sysfs gives numbers; a host's own pci.ids names them all, these are the ones that need no such file (pci.ids).
NAMES = {"e20b": "Arc B580", "e20c": "Arc B570", "e211": "Arc Pro B60", "e212": "Arc Pro B50", "56a0": "Arc A770"}
PCI_IDS = ("usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids")


def cards(root: Path = Path("/")) -> list[Gpu]:
    """The discrete Intel GPUs; memory is 0 where the kernel does not say it. `root` is for tests."""
    found: list[Gpu] = []
    folders = (root / "sys/class/drm").glob("card*/device")
    for device in sorted(folders, key=lambda path: _number(path.parent.name)):
        if not re.fullmatch(r"card\d+", device.parent.name) or read(device / "vendor") != VENDOR:
            continue  # a connector (card1-DP-1), or another vendor's
        memory = _memory_gib(device)
        if not memory and _integrated(device):
            continue
        identity = read(device / "device").removeprefix("0x").lower()
        found.append(Gpu(len(found), name_of(identity, root), memory, memory))
    return found


def driver(root: Path = Path("/")) -> str | None:
    """The kernel module that drives the GPUs, with its version where it has one."""
    for name in DRIVERS:
        folder = root / "sys/module" / name
        if folder.is_dir():
            return " ".join(filter(None, [name, read(folder / "version")]))
    return None


def name_of(identity: str, root: Path = Path("/")) -> str:
    """The name of a PCI device id of Intel: `Intel Arc Pro B60`, or the number where nobody names it."""
    for place in PCI_IDS:
        section = re.search(r"^8086  .*\n((?:[\t#].*\n|\n)*)", read(root / place) + "\n", re.M)
        named = section and re.search(rf"^\t{re.escape(identity)}  (.*)$", section[1], re.M | re.I)
        if named:
            short = re.search(r"\[(.*)\]", named[1])
            return f"Intel {(short or named)[1]}"
    return f"Intel {NAMES.get(identity, f'GPU 8086:{identity}')}"


def _memory_gib(device: Path) -> float:
    """Local memory: `tile*/physical_vram_size_bytes` of xe, `lmem_total_bytes` of i915."""
    tiles = [*device.glob("tile*/physical_vram_size_bytes"), *device.glob("tile*/memory/physical_vram_size_bytes")]
    sizes = [_whole(path) for path in tiles] or [
        _whole(path) for path in (device / "lmem_total_bytes", device.parent / "lmem_total_bytes")
    ]
    return sum(sizes) / GIB


def _integrated(device: Path) -> bool:
    """Whether the GPU is part of the processor: those sit on the root bus (0000:00:02.0), cards behind a bridge."""
    address = device.resolve().name
    slot = re.search(r"^PCI_SLOT_NAME=(.*)$", read(device / "uevent"), re.M)
    return bool(re.match(r"[0-9a-f]{4}:00:", slot[1] if slot else address))


def _number(card: str) -> int:
    return int(re.sub(r"\D", "", card.partition("-")[0]) or 0)


def _whole(path: Path) -> int:
    with contextlib.suppress(ValueError):
        return int(read(path) or "0", 0)
    return 0


def read(path: Path) -> str:
    """A small file of the kernel, "" where it is not there."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\n")
    except OSError:
        return ""
