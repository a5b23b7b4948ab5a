"""What a run asks of a machine, and one judged fact."""

from dataclasses import dataclass


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


@dataclass(frozen=True)
class Check:
    """One judged fact: `ok` is None where it does not apply; advice does not stop a run."""

    name: str
    ok: bool | None
    seen: str
    need: str
    fix: str = ""
    required: bool = True

    @property
    def mark(self) -> str:
        """✓, ✗, ! for advice that is not followed, – for what does not apply."""
        return "–" if self.ok is None else "✓" if self.ok else "✗" if self.required else "!"
