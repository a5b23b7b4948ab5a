"""Every check of preflight in the order of its table: the name, the function that judges, the usual fix."""

from collections.abc import Callable
from dataclasses import dataclass

from helpers.findings import Finding
from helpers.machine.preflight import accelerators, installed, room
from helpers.machine.preflight.machine import Judged, Machine, Need


@dataclass(frozen=True)
class Check:
    """One fact that is judged; one that is not `required` is advice and stops no run."""

    name: str
    judged: Callable[[Machine, Need], Judged]
    fix: str = ""
    required: bool = True

    def __call__(self, machine: Machine, need: Need) -> Finding:
        ok, seen, needed, fix, required = self.judged(machine, need)
        return Finding(self.name, ok, seen, needed, fix or self.fix, required and self.required)


CHECKS = (
    Check("GPU", accelerators.gpu_kind),
    Check(
        "GPU model",
        accelerators.gpu_model,
        "the recipe runs here, its figures and recommended sizes are another card's",
        required=False,
    ),
    Check("GPU count", accelerators.gpu_count),
    Check(
        "GPU memory free",
        accelerators.gpu_memory,
        "`cookbook stop` ends the cookbook's servers; ask the owner of any other process",
    ),
    Check("Memory budget", accelerators.budget),
    Check("MIG", accelerators.mig, "ask the administrator for a whole GPU"),
    Check("Driver", accelerators.driver, "install a newer driver, or a wheel for an older CUDA (F16)"),
    Check("NVLink", accelerators.nvlink, "expect slower tensor parallelism; replicas need no links", required=False),
    Check("NVLink fabric", accelerators.fabric, "sudo systemctl restart nvidia-fabricmanager (CU10)"),
    Check("CUDA toolkit", accelerators.toolkit, "point CUDA_HOME at CUDA 12.9 or newer (CU1)"),
    Check("KV cache in fp8", accelerators.fp8_cache, "leave --kv-cache-dtype out (CU15)"),
    Check(
        "Image", accelerators.image, "install a newer driver, or take the image of an older CUDA (DK1)", required=False
    ),
    Check("C compiler", installed.compiler),
    Check("NUMA library", installed.numa, "apt-get install libnuma1 (Debian, Ubuntu), or dnf install numactl-libs"),
    Check("WSL2", installed.wsl, "export VLLM_WSL2_ENABLE_PIN_MEMORY=1, or upgrade vLLM (CU2)"),
    Check("/dev/shm", room.shm, "start the container with --ipc=host or --shm-size=8g (F27)"),
    Check("Memory", room.memory, "end other programs, or raise the container's memory limit"),
    Check("Processor", room.processor, "vLLM's CPU build needs avx2"),
    Check("Disk for weights", room.disk("weights", lambda need: need.weights_disk)),
    Check("Disk for the stack", room.disk("stacks", lambda need: need.stack_disk)),
    Check("Disk for models", room.disk("cache", lambda need: need.cache_disk)),
    Check("Disk for kernels", room.disk("compile", lambda need: room.COMPILE_GIB if need.gpu else 0.0)),
    Check("Disk for runs", room.disk("runs", lambda need: room.RUN_GIB)),
    Check("Port", room.port, "pass port=0 for a free one, or `cookbook stop` if it is the cookbook's (F24)"),
    Check("Python", installed.python, "install it, then `make setup PYTHON=/path/to/python`"),
    Check("uv", installed.uv, "pip install uv into the workbench"),
    Check("docker", installed.docker),
    Check("Device files", accelerators.device_files, "join the groups render and video, then log in again"),
    Check(
        "Model hub",
        installed.hub,
        "set HF_ENDPOINT or a proxy, or copy the weights here and pass their folder as weights",
    ),
    Check("Weights folder", installed.weights, "pass the folder of a checkpoint, or weights=hub"),
    Check("Clock", room.clock, "set the clock (timedatectl set-ntp true)"),
    Check("Harmony vocabulary", installed.vocabulary, "unset TIKTOKEN_ENCODINGS_BASE (F2)"),
    Check("Packages", installed.packages),
    Check("VLLM_* variables", installed.variables),
    Check("Leases", room.leases, "`cookbook status` clears them", required=False),
    Check("Stray engines", room.strays, "end them if they are yours: kill PID (their server is gone)", required=False),
)


def judge(machine: Machine, need: Need) -> list[Finding]:
    """Every check, in the order of a table."""
    return [check(machine, need) for check in CHECKS]
