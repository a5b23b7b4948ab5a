"""Whether the host has room: memory, disks, a port, a clock; pure functions of `Machine` and `Need`, one per fact."""

from collections.abc import Callable

from helpers.findings import NOTHING
from helpers.machine.preflight.machine import Judged, Machine, Need

SHM_GIB = 1.0  # for tensor parallelism: NCCL's segments (32 MiB each) and vLLM's broadcast queue (failures F27)
COMPILE_GIB = 2.0  # torch.compile and kernel caches of one model (estimate)
RUN_GIB = 0.5  # log, notebook, record and bench files of one run
SKEW_S = 300.0  # signed web requests and certificates fail beyond five minutes
DISK_VARIABLES = {
    "weights": "HF_HOME",
    "stacks": "COOKBOOK_STACKS",
    "runs": "COOKBOOK_RUNS",
    "cache": "COOKBOOK_CACHE",
    "compile": "VLLM_CACHE_ROOT",
}


def shm(machine: Machine, need: Need) -> Judged:
    seen = "none" if machine.shm_gib is None else f"{machine.shm_gib:.2f} GiB"
    if need.tensor_parallel < 2:
        return Judged(None, seen, "nothing with tensor parallel size 1")
    return Judged((machine.shm_gib or 0) >= SHM_GIB, seen, f"{SHM_GIB:.0f} GiB")


def disk(purpose: str, size: Callable[[Need], float]) -> Callable[[Machine, Need], Judged]:
    """The check of one folder's free space."""

    def judged(machine: Machine, need: Need) -> Judged:
        wanted, found = size(need), machine.disks.get(purpose)
        if not wanted or not found:
            return Judged(None, f"{found.free_gib:.0f} GiB" if found else NOTHING, "nothing is written")
        seen = f"{found.free_gib:.0f} GiB free" + ("" if found.writable else ", not writable")
        fix = f"free some space, or set {DISK_VARIABLES[purpose]} to a larger disk"
        return Judged(found.writable and found.free_gib >= wanted, seen, f"{wanted:.1f} GiB", fix)

    return judged


def memory(machine: Machine, need: Need) -> Judged:
    kind = "of the container's limit" if machine.limited else "of the host"
    seen = f"{machine.available_gib:.1f} of {machine.memory_gib:.1f} GiB {kind} available"
    return Judged(machine.available_gib >= need.host_memory, seen, f"{need.host_memory:.1f} GiB")


def processor(machine: Machine, need: Need) -> Judged:
    flags = ", ".join(machine.cpu_flags) or "no vector extensions"
    if machine.architecture != need.architecture:
        if need.install == "cuda" and machine.architecture in ("x86_64", "aarch64"):  # of the CUDA stack's wheels
            fix = f"the lock holds wheels for {machine.architecture} too, not tried on this card"
            return Judged(False, machine.architecture, need.architecture, fix, required=False)
        return Judged(False, machine.architecture, need.architecture, "use the recipe of this architecture")
    if need.gpu:
        return Judged(True, f"{machine.architecture}, {machine.cores} cores", need.architecture)
    if need.mxfp4_on_cpu:
        fix = "serve a BF16 checkpoint here (F13)"
        return Judged("amx_bf16" in machine.cpu_flags, flags, "amx_bf16 for MXFP4 on a CPU", fix)
    vectors = bool({"avx2", "avx512f", "asimd"} & set(machine.cpu_flags))
    return Judged(vectors, f"{machine.cores} cores, {flags}", "avx512f for speed, avx2 at least")


def port(machine: Machine, need: Need) -> Judged:
    if not need.port:
        return Judged(True, "a free one is taken", "any")
    if need.port in machine.servers:
        return Judged(True, f"{need.port} held by the cookbook's own {machine.servers[need.port]}", "free, or ours")
    who = machine.ports.get(need.port, "")
    return Judged(not who, f"{need.port} {'held by ' + who if who else 'free'}", f"{need.port} free")


def clock(machine: Machine, need: Need) -> Judged:
    if machine.clock_skew_s is not None:
        seen = f"{machine.clock_skew_s:+.0f} s against the hub"
        return Judged(abs(machine.clock_skew_s) <= SKEW_S, seen, f"within {SKEW_S:.0f} s")
    seen = f"the year is {machine.year}; --network compares the clock with the hub's"
    return Judged(machine.year >= 2026, seen, "2026 or later")


def leases(machine: Machine, need: Need) -> Judged:
    stale = machine.stale_leases
    return Judged(not stale, f"{len(stale)} of servers that are gone" if stale else "none stale", "none stale")


def strays(machine: Machine, need: Need) -> Judged:
    found = ", ".join(f"pid {stray.pid} {stray.name} {stray.memory_gib:.1f} GiB" for stray in machine.strays)
    return Judged(not machine.strays, found or "none", "none")
