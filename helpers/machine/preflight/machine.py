"""What a machine is and holds, read once by `probe`; what a run needs of it; what `judge` makes of both."""

from dataclasses import dataclass, field
from typing import NamedTuple

from helpers.findings import NOTHING

GIB = 2**30  # bytes


@dataclass(frozen=True)
class Holder:
    """A process that holds memory of a GPU."""

    pid: int
    name: str
    memory_gib: float


@dataclass(frozen=True)
class Gpu:
    """One accelerator; memory in GiB as its driver reports it."""

    index: int
    name: str
    memory_gib: float  # 0: the driver does not say
    free_gib: float
    compute_capability: str | None = None  # NVIDIA, e.g. "9.0"
    gfx: str | None = None  # AMD, e.g. "gfx942"
    mig: bool = False
    links: int | None = None  # active NVLink links; None where the driver does not say
    fabric: int | None = None  # NVML's state of the NVLink fabric: 0 none, 1 not started, 2 in progress, 3 complete
    holders: list[Holder] = field(default_factory=list)


@dataclass(frozen=True)
class Disk:
    """Free space where something is going to be written; `path` is the nearest folder that exists."""

    path: str
    free_gib: float
    writable: bool = True


@dataclass(frozen=True)
class Machine:
    """Facts about the host; a fact that could not be read is None or empty."""

    vendor: str = "cpu"  # nvidia, amd, intel or cpu
    gpus: list[Gpu] = field(default_factory=list)
    gpu_error: str = ""  # why the driver's library gave nothing, where a GPU is on the bus
    driver: str | None = None
    cuda: str | None = None  # the newest CUDA that the driver runs
    cpu: str = ""
    cores: int = 1
    architecture: str = ""
    cpu_flags: list[str] = field(default_factory=list)  # of those that matter: avx2, avx512f, amx_bf16, ...
    memory_gib: float = 0.0  # of the host or of the container's limit, whichever is less
    available_gib: float = 0.0
    limited: bool = False  # a container limit is below the host's memory
    shm_gib: float | None = None
    disks: dict[str, Disk] = field(default_factory=dict)  # by purpose: weights, stacks, runs, cache, compile
    ports: dict[int, str] = field(default_factory=dict)  # asked ports: who listens, "" when free
    python: str = ""
    tools: dict[str, str] = field(default_factory=dict)  # uv, docker: version or state, "" when absent
    devices: dict[str, bool] = field(default_factory=dict)  # /dev/kfd, /dev/dri: may this user open it?
    token: bool = False  # a hub token is set
    cached: list[str] = field(default_factory=list)  # hub repositories whose weights are whole in the cache
    hub: str | None = None  # None: not asked; "": reachable; else why not
    clock_skew_s: float | None = None  # against the hub's clock, None: not asked
    year: int = 0
    wsl: str = ""  # the kernel's release under WSL2
    nvcc: str = ""  # the CUDA toolkit's version, "" without one
    compiler: str = ""  # the C compiler, "" without one
    numa: bool = True  # libnuma.so.1 loads, which vLLM's CPU build is linked against
    headers: dict[str, bool] = field(default_factory=dict)  # stack: its Python has Python.h
    pins: dict[str, str] = field(default_factory=dict)  # stack: the torch that its vLLM asks for
    service_port: str = ""  # VLLM_PORT where a Kubernetes Service set it
    vocabulary: str | None = None  # None: TIKTOKEN_ENCODINGS_BASE is not set; "": sound; else what is wrong
    packages: dict[str, dict[str, str]] = field(default_factory=dict)  # stack: distribution: version
    harmony: dict[str, str] = field(default_factory=dict)  # stack: first digits of openai_harmony's sha256
    variables: list[str] = field(default_factory=list)  # VLLM_* names set in this shell
    # stack: those of them that its vLLM does not know; a stack whose vLLM cannot be read is absent
    unknown_variables: dict[str, list[str]] = field(default_factory=dict)
    servers: dict[int, str] = field(default_factory=dict)  # the cookbook's own: port and model
    stale_leases: list[str] = field(default_factory=list)
    strays: list[Holder] = field(default_factory=list)  # vLLM processes whose server is gone

    @property
    def first(self) -> Gpu | None:
        """The first GPU."""
        return self.gpus[0] if self.gpus else None

    @property
    def name(self) -> str:
        """The accelerator's name, or the CPU's."""
        return self.first.name if self.first else self.cpu

    @property
    def count(self) -> int:
        """Number of GPUs; 0 on a CPU machine."""
        return len(self.gpus)

    @property
    def compute_capability(self) -> str | None:
        """Of the first GPU, NVIDIA only."""
        return self.first.compute_capability if self.first else None

    @property
    def gfx(self) -> str | None:
        """Of the first GPU, AMD only."""
        return self.first.gfx if self.first else None

    @property
    def device_memory_gib(self) -> float:
        """Memory of one GPU (0: its driver does not say), or of the host where there is none."""
        return self.first.memory_gib if self.first else self.memory_gib

    def line(self) -> str:
        """The machine in one line."""
        each = f"{self.device_memory_gib:.0f} GiB each" if self.device_memory_gib else "memory not known"
        gpus = f"{self.count} × {self.name}, {each}; " if self.gpus else ""
        return f"{gpus}{self.cpu}, {self.cores} cores, {self.memory_gib:.0f} GiB memory"

    def report_line(self) -> str:
        """The line with what an issue needs beside it."""
        kind = (self.compute_capability and f"compute capability {self.compute_capability}") or self.gfx
        driver = self.driver and f"driver {self.driver} (CUDA {self.cuda} at most)"
        parts = [self.line(), self.architecture, f"Python {self.python}", kind, driver, self.wsl and "WSL2"]
        return ", ".join(filter(None, parts))


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
    fp8_kv: bool = False  # the command stores the KV cache in fp8
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
