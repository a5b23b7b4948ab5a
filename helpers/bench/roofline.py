"""The physical limit: how fast a model could decode if only memory bandwidth and peak FLOP/s held it back.

Counted: every weight that a step must read (experts as uniform routing hits them), the KV cache, the FLOPs of
prefill and decode. Left out: launches, all-reduces, sampling, activations, the host, speculative decoding.
A fraction near 1 is therefore out of reach; the bound tells how much is left, not what a kernel can do.
"""

from collections.abc import Callable
from dataclasses import dataclass

from helpers.bench.sweep import Load
from helpers.recipes.budget import BF16, MXFP4
from helpers.recipes.model import Geometry, Model
from helpers.recipes.target import Device


def experts_hit(experts: int, per_token: int, batch: float) -> float:
    """Distinct experts that a batch of tokens reads in one layer, with uniform routing."""
    return experts * (1 - (1 - per_token / experts) ** batch)


def attention_parameters(geometry: Geometry) -> int:
    """Parameters of one layer's attention: projections with biases, sinks, norm."""
    query, kv = geometry.attention_heads * geometry.head_dim, geometry.kv_heads * geometry.head_dim
    hidden, joint = geometry.hidden_size, query + 2 * kv
    return hidden * joint + joint + query * hidden + hidden + geometry.attention_heads + hidden


def router_parameters(geometry: Geometry) -> int:
    """Parameters of one layer's router and the norm before it."""
    return geometry.hidden_size * geometry.experts + geometry.experts + geometry.hidden_size


def expert_weights(geometry: Geometry) -> int:
    """Weights of one expert: gate, up and down projection."""
    return 3 * geometry.hidden_size * geometry.intermediate_size


def expert_bytes(geometry: Geometry, precision: str) -> float:
    """Bytes of one expert with its BF16 biases."""
    biases = 2 * geometry.intermediate_size + geometry.hidden_size
    return expert_weights(geometry) * (MXFP4 if precision == "mxfp4" else BF16) + biases * BF16


def always_read_bytes(geometry: Geometry) -> float:
    """Bytes that every decode step reads whatever the batch: attention, routers, unembedding, final norm."""
    layers = geometry.layers * (attention_parameters(geometry) + router_parameters(geometry))
    return BF16 * (layers + geometry.vocab_size * geometry.hidden_size + geometry.hidden_size)


def attended(geometry: Geometry, context: float) -> float:
    """Positions that one token attends to, summed over layers."""
    return geometry.full_layers * context + geometry.sliding_layers * min(context, geometry.sliding_window)


def kv_bytes(geometry: Geometry, context: float) -> float:
    """Bytes of KV cache that one sequence reads per step, in BF16."""
    return 2 * geometry.kv_heads * geometry.head_dim * BF16 * attended(geometry, context)


def step_bytes(geometry: Geometry, precision: str, batch: float, context: float) -> float:
    """Bytes that one decode step of `batch` sequences with `context` tokens each must move."""
    experts = experts_hit(geometry.experts, geometry.experts_per_token, batch)
    written = 2 * geometry.kv_heads * geometry.head_dim * BF16 * geometry.layers
    per_sequence = kv_bytes(geometry, context) + BF16 * geometry.hidden_size + written
    return (
        always_read_bytes(geometry)
        + geometry.layers * experts * expert_bytes(geometry, precision)
        + batch * per_sequence
    )


def layer_flops(geometry: Geometry) -> float:
    """FLOPs of one token's matrix products without attention scores and unembedding."""
    dense = 2 * geometry.layers * (attention_parameters(geometry) + router_parameters(geometry))
    return dense + expert_flops(geometry)


def expert_flops(geometry: Geometry) -> float:
    """FLOPs of one token's experts, over all layers."""
    return 2 * geometry.layers * geometry.experts_per_token * expert_weights(geometry)


def score_flops(geometry: Geometry, context: float) -> float:
    """FLOPs of one token's attention scores and their sums, over all layers."""
    return 4 * geometry.attention_heads * geometry.head_dim * attended(geometry, context)


def decode_flops(geometry: Geometry, context: float) -> float:
    """FLOPs of one generated token."""
    unembedding = 2 * geometry.vocab_size * geometry.hidden_size
    return layer_flops(geometry) + unembedding + score_flops(geometry, context)


def prefill_flops(geometry: Geometry, tokens: int) -> float:
    """FLOPs of reading a prompt."""
    window = min(tokens, geometry.sliding_window)
    full = tokens * (tokens + 1) / 2
    sliding = window * (window + 1) / 2 + (tokens - window) * geometry.sliding_window
    positions = geometry.full_layers * full + geometry.sliding_layers * sliding
    return layer_flops(geometry) * tokens + 4 * geometry.attention_heads * geometry.head_dim * positions


@dataclass(frozen=True)
class Bound:
    """What the hardware allows for one load, over all GPUs; tok/s are output tokens."""

    tpot_ms: float  # the shortest decode step
    decode_tok_s: float  # prompts for free
    overlap_tok_s: float  # prefill fully hidden behind decode: nothing can be faster
    serial_tok_s: float  # prefill and decode one after the other, each at its own limit
    step_gb: float  # 10^9 bytes that a decode step moves, over all GPUs of a replica


def bound(model: Model, device: Device, load: Load, tensor_parallel: int = 1, replicas: int = 1) -> Bound | None:
    """The limit of a load on `tensor_parallel * replicas` devices, None where the device's speed is unknown.

    Tensor parallelism splits every byte and FLOP evenly and talks for free; replicas split the sequences.
    The context of a sequence is taken at its mean, input + output / 2.
    """
    if device.bandwidth_gb_s is None or device.bf16_tflops is None:
        return None
    geometry, precision = model.geometry, model.weights.precision
    bandwidth, peak = (device.bandwidth_gb_s * 1e9 * tensor_parallel, device.bf16_tflops * 1e12 * tensor_parallel)
    batch = min(load.concurrency, load.prompts) / replicas
    context = load.input_tokens + load.output_tokens / 2
    moved = step_bytes(geometry, precision, batch, context)
    decode = batch * decode_flops(geometry, context) / peak
    prefill = batch * prefill_flops(geometry, load.input_tokens) / load.output_tokens / peak
    step = max(moved / bandwidth, decode)
    return Bound(
        tpot_ms=step * 1e3,
        decode_tok_s=replicas * batch / step,
        overlap_tok_s=replicas * batch / max(moved / bandwidth, decode + prefill),
        serial_tok_s=replicas * batch / (step + prefill),
        step_gb=moved / 1e9,
    )


def roofline(
    model: Model, device: Device, tensor_parallel: int = 1, replicas: int = 1
) -> Callable[[Load], float | None]:
    """For `sweep(roofline=...)`: a load's bound in output tok/s over all GPUs (prefill fully overlapped)."""

    def of(load: Load) -> float | None:
        limit = bound(model, device, load, tensor_parallel, replicas)
        return None if limit is None else limit.overlap_tok_s

    return of
