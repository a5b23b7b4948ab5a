"""What a run asks of a machine, and what one check made of it."""

from dataclasses import dataclass
from typing import NamedTuple

from helpers.findings import NOTHING


@dataclass(frozen=True)
class Need:
    """What one run asks of a machine; sizes in GiB."""

    target: str = "cpu"
    vendor: str = "cpu"  # nvidia, amd, intel or cpu
    install: str = "cpu"  # cpu, cuda, rocm or xpu
    gpu: str = ""  # the target's title, "" for a run on the CPU
    compute_capability: str | None = None
    gfx: str | None = None
    gpu_name: str | None = None  # regular expression
    gpu_memory: float | None = None  # of the card that the recipe is for
    gpus: int = 0
    tensor_parallel: int = 1
    gpu_free: float = 0.0  # of each GPU
    host_memory: float = 0.0
    architecture: str = "x86_64"
    driver: int | None = None  # NVIDIA branch
    weights_disk: float = 0.0
    stack_disk: float = 0.0
    cache_disk: float = 0.0
    hub_id: str = ""  # weights that come from the hub
    folder: str = ""  # weights that lie in a folder
    folder_fault: str = ""  # why that folder is no checkpoint
    mxfp4_on_cpu: bool = False
    port: int = 0
    stack: str = "cpu"
    budget: str = ""  # the memory budget in words
    budget_missing: float = 0.0  # per device
    budget_fix: str = ""


class Judged(NamedTuple):
    """What one check made of a machine; the check itself adds its name and its usual fix."""

    ok: bool | None  # None where it does not apply
    seen: str
    needed: str
    fix: str = ""  # where it is not the check's usual one
    required: bool = True


NOT_ASKED = Judged(None, NOTHING, NOTHING)
