"""Where a decode step spends its time: the kernels of vLLM's torch profiler by group (`benchmarks/campaign/decode.py`)."""

import re
from typing import Annotated

from pydantic import Field

from helpers.bench.roofline import (
    always_read_bytes,
    decode_flops,
    expert_bytes,
    expert_flops,
    experts_hit,
    kv_bytes,
    score_flops,
)
from helpers.recipes import Model
from helpers.recipes.target import Device
from helpers.records.record import Part

# First match wins. Names as vLLM 0.25.1 with torch 2.11 gives them on Hopper.
GROUPS = {
    "copies": r"^memcpy|^memset",
    "all-reduce": r"nccl|cross_device_reduce|all_?reduce|allreduce|multimem|one_shot|two_shot|symm_mem",
    "MoE": r"matmul_ogs|marlin|moe|_topk_forward|bitmatrix|routing|ragged|swiglu|_reduce_grouped|mxfp4|scatter_indx"
    r"|humming|process_input|group_token_scales",
    "attention": r"flash|attn|attention|reshape_and_cache|prepare_varlen|rotary|rope",
    "sampling": r"argmax|softmax|sampl|top_?k|top_?p|multinomial|exponential|gumbel|logits|sort|penalt|cumsum|philox",
    "dense GEMM": r"nvjet|gemm|gemv|cublas|cutlass|wgmma|splitk",
}
REST = "norms and the rest"
GAPS = "host and gaps"


class Kernel(Part):
    """One kernel of a profile: how often it ran and for how long, over all profiled steps."""

    name: str
    calls: Annotated[int, Field(gt=0)]
    total_us: Annotated[float, Field(ge=0)]


class StepProfile(Part):
    """A decode step of `batch` sequences: its kernels, and how long it is with the profiler and without."""

    batch: Annotated[int, Field(gt=0)]
    context: Annotated[int, Field(gt=0)]  # tokens of a sequence when the profile began, about
    step_ms: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(gt=0)]  # in the profile
    profiled_step_ms: Annotated[float, Field(gt=0)]
    busy_ms: Annotated[float, Field(ge=0)]  # of a profiled step: some kernel ran
    kernels: list[Kernel]

    def groups(self) -> dict[str, float]:
        """Milliseconds of one profiled step by group of kernels; `host and gaps` is when none ran.

        Kernels that run at once share their time, so that the groups add up to the step.
        """
        found = dict.fromkeys([*GROUPS, REST], 0.0)
        for kernel in self.kernels:
            found[group_of(kernel.name)] += kernel.total_us / 1e3 / self.steps
        share = self.busy_ms / sum(found.values())
        parts = {name: value * share for name, value in found.items() if value}
        return parts | {GAPS: self.profiled_step_ms - self.busy_ms}


def step_limits(model: Model, device: Device, batch: int, context: float) -> dict[str, float] | None:
    """Milliseconds that each part of a decode step takes at least on one device; None where its speed is unknown.

    The longer of moving its bytes and computing its FLOPs: experts (`MoE`), KV cache (`attention`), and the
    projections, routers and unembedding (`dense GEMM`).
    """
    if device.bandwidth_gb_s is None or device.bf16_tflops is None:
        return None
    geometry, precision = model.geometry, model.weights.precision
    experts = experts_hit(geometry.experts, geometry.experts_per_token, batch)
    moe, scores = expert_flops(geometry), score_flops(geometry, context)
    dense = decode_flops(geometry, context) - moe - scores
    parts = {
        "MoE": (geometry.layers * experts * expert_bytes(geometry, precision), moe),
        "attention": (batch * kv_bytes(geometry, context), scores),
        "dense GEMM": (always_read_bytes(geometry), dense),
    }
    bandwidth, peak = device.bandwidth_gb_s * 1e9, device.bf16_tflops * 1e12
    return {name: 1e3 * max(moved / bandwidth, batch * flops / peak) for name, (moved, flops) in parts.items()}


def group_of(name: str) -> str:
    """The group of a kernel.

    >>> group_of("_p_matmul_ogs_NNT_bf16xbf16xmxfp4"), group_of("nvjet_tst_64x8"), group_of("triton_red_fused_rms_norm_0")
    ('MoE', 'dense GEMM', 'norms and the rest')
    >>> group_of("void humming<Config>(CUtensorMap)")
    'MoE'
    """
    return next((group for group, pattern in GROUPS.items() if re.search(pattern, name, re.IGNORECASE)), REST)
