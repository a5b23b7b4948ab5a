"""How evenly a checkpoint's tokens spread over the experts, measured inside vLLM.

    STACK_PYTHON -m benchmarks.campaign.routing --model DIR [--load-format dummy] --batch 1 16 64 --out FILE [-- FLAGS]

A hook on every router of the served model sees the logits that vLLM computes and counts the distinct experts of
each layer and decode step, with the flags of `vllm serve` that are to be looked at. Uniform routing hits
E * (1 - (1 - k/E)**B) of E experts with B tokens of k each.
"""

import argparse
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.bench.roofline import experts_hit
from helpers.files import write_whole

PROMPT_TOKENS = 32
DECODE_STEPS = 48
KEPT_TOKENS = 96  # of each prompt whose next token's distribution is kept
KEPT_BATCHES = (64, 16)  # prompts at once: what a batch size changes is the measure of what a kernel changes
TEXT_TOKENS = 199_998  # random prompts draw from the ordinary tokens


class RoutingProbe:
    """Mixed into vLLM's workers (`worker_extension_cls`): counts the experts that each router call hits."""

    get_model: Callable[[], Any]  # of the worker that this is mixed into

    def watch_routing(self, per_token: int) -> int:
        """Hook every router; returns how many there are."""
        self.seen: list[tuple[int, int, int, bool]] = []
        model = self.get_model()
        routers = [module for name, module in model.named_modules() if name.endswith("mlp.router")]
        for layer, module in enumerate(routers):

            def count(_module, _inputs, output, layer=layer):
                logits = (output[0] if isinstance(output, tuple) else output).float()
                chosen = logits.topk(per_token, dim=-1).indices
                finite = bool(logits.isfinite().all())
                self.seen.append((layer, logits.shape[0], chosen.unique().numel(), finite))

            module.register_forward_hook(count)
        return len(routers)

    def take_routing(self) -> list[tuple[int, int, int, bool]]:
        """(layer, tokens, distinct experts, whether all its numbers were finite) of every call since the last time."""
        taken, self.seen = self.seen, []
        return taken

    def watch_distributions(self) -> None:
        """Keep the distribution of the next token of every row that reaches the sampler."""
        import torch

        self.rows: list = []
        (processor,) = [m for name, m in self.get_model().named_modules() if name.endswith("logits_processor")]

        def keep(_module, _inputs, output):
            if output is not None:
                table = output.float()
                self.rows.append((table.log_softmax(dim=-1).to(torch.float16).cpu(), table.argmax(dim=-1).cpu()))

        processor.register_forward_hook(keep)

    def take_distributions(self, path: str) -> list[int]:
        """Write the rows since the last time to a file (`log_p`, `top1`); returns their likeliest tokens."""
        import torch
        from safetensors.torch import save_file

        taken, self.rows = self.rows, []
        log_p, top1 = (torch.cat(column).contiguous() for column in zip(*taken, strict=True))
        save_file({"log_p": log_p, "top1": top1}, path)
        return top1.tolist()


def summary(
    seen: list[tuple[int, int, int, bool]], layers: int, experts: int, per_token: int, batch: int, per_step: int = 1
) -> dict:
    """Share of the experts hit, by layer and overall, over the decode steps of `batch` requests.

    A request has `per_step` tokens in a step: one, and those that were drafted for it.
    """
    by_layer: list[list[int]] = [[] for _ in range(layers)]
    tokens, finite = batch * per_step, True
    for layer, had, distinct, sound in seen:
        finite = finite and sound
        if had == tokens:
            by_layer[layer].append(distinct)
    steps = min(map(len, by_layer))
    if not steps:
        raise SystemExit(f"no decode step had {tokens} tokens: raise --gpu-memory-utilization or lower --batch")
    shares = [sum(hits) / len(hits) / experts for hits in by_layer]
    expected = experts_hit(experts, per_token, tokens) / experts
    mean = sum(shares) / layers
    return {
        "batch": batch,
        "tokens": tokens,
        "steps": steps,
        "finite": finite,
        "expected_share": expected,
        "mean_share": mean,
        "ratio": mean / expected,
        "share_by_layer": shares,
    }


def engine_of(options: argparse.Namespace):
    """The engine with this measurement's settings and the flags that are to be measured."""
    from vllm import LLM
    from vllm.engine.arg_utils import EngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    largest = max(*options.batch, *(KEPT_BATCHES if options.distributions else ()))
    extension = f"{RoutingProbe.__module__}.RoutingProbe"
    argv = [
        "--model",
        options.model,
        "--load-format",
        options.load_format,
        "--enforce-eager",  # a captured graph would run past the hooks
        "--no-enable-prefix-caching",
        "--gpu-memory-utilization",
        options.gpu_memory_utilization,
        "--max-model-len",
        1024,
        "--max-num-seqs",
        largest,
        "--max-num-batched-tokens",
        max(2048, largest * max(PROMPT_TOKENS, KEPT_TOKENS)),
        "--worker-extension-cls",
        extension.replace("__main__", "benchmarks.campaign.routing"),
        "--seed",
        options.seed,
    ]
    if options.kv_cache_bytes:
        argv += ["--kv-cache-memory-bytes", options.kv_cache_bytes]
    parsed = EngineArgs.add_cli_args(FlexibleArgumentParser()).parse_args([*map(str, argv), *options.flags])
    engine = EngineArgs.from_cli_args(parsed)
    return LLM.from_engine_args(engine), 1 + (parsed.speculative_config or {}).get("num_speculative_tokens", 0)


def measure(options: argparse.Namespace) -> tuple[Any, dict]:
    """Load the model and decode with each batch size; the engine, and what was counted."""
    from vllm import SamplingParams

    config = json.loads((Path(options.model) / "config.json").read_text())
    layers, experts = config["num_hidden_layers"], config["num_local_experts"]
    per_token = config["num_experts_per_tok"]
    engine, per_step = engine_of(options)
    routers = engine.collective_rpc("watch_routing", args=(per_token,))[0]
    if routers != layers:
        raise SystemExit(f"the model has {layers} layers, {routers} routers were found")
    draw = random.Random(options.seed)
    results = []
    for batch in options.batch:
        sampling = SamplingParams(temperature=1.0, max_tokens=DECODE_STEPS, ignore_eos=True)
        engine.generate(drawn(draw, batch, PROMPT_TOKENS), sampling, use_tqdm=False)
        seen = engine.collective_rpc("take_routing")[0]
        results.append(summary(seen, layers, experts, per_token, batch, per_step))
    import vllm

    return engine, {
        "weights": "dummy" if options.load_format == "dummy" else options.weights,
        "variant": options.variant,
        "flags": [word.replace(options.model, "<checkpoint>") for word in options.flags],
        "layers": layers,
        "experts": experts,
        "experts_per_token": per_token,
        "vllm": vllm.__version__,
        "batches": results,
    }


def drawn(draw: random.Random, number: int, tokens: int) -> list[dict]:
    """Prompts of random ordinary tokens."""
    return [{"prompt_token_ids": [draw.randrange(TEXT_TOKENS) for _ in range(tokens)]} for _ in range(number)]


def keep_distributions(engine, options: argparse.Namespace) -> None:
    """Each prompt's distribution of the next token, once for every batch size, to DIR/batch-N.safetensors."""
    from vllm import SamplingParams

    options.distributions.mkdir(parents=True, exist_ok=True)
    engine.collective_rpc("watch_distributions")
    prompts = drawn(random.Random(options.seed + 1), options.prompts, KEPT_TOKENS)
    for batch in KEPT_BATCHES:
        said = []
        for first in range(0, len(prompts), batch):
            sampling = SamplingParams(temperature=0.0, max_tokens=1)
            outputs = engine.generate(prompts[first : first + batch], sampling, use_tqdm=False)
            said += [output.outputs[0].token_ids[0] for output in outputs]
        path = options.distributions / f"batch-{batch}.safetensors"
        likeliest = engine.collective_rpc("take_distributions", args=(str(path),))[0]
        if likeliest != said:
            path.unlink()
            raise SystemExit("the rows that were kept are not those of the prompts in their order")


def main() -> None:
    """The command line: writes the JSON atomically and prints one line per batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="checkpoint folder")
    parser.add_argument("--load-format", default="auto", choices=["auto", "dummy"])
    parser.add_argument("--weights", default="synthetic", help="how to name these weights in the result")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--gpu-memory-utilization", type=float, default=0.9)
    parser.add_argument(
        "--kv-cache-bytes", type=int, help="KV cache of a fixed size: two measurements may then share a GPU"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variant", default="", help="how to name the flags in the result")
    parser.add_argument("--distributions", type=Path, metavar="DIR", help="keep the next token's distributions there")
    parser.add_argument("--prompts", type=int, default=1000, help="how many prompts' distributions")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("flags", nargs="*", help="flags of `vllm serve`, after --")
    options = parser.parse_args()
    if not (Path(options.model) / "config.json").is_file():
        parser.error(f"{options.model} is no checkpoint folder: it has no config.json")
    # The engine in this process: prompts that are given at once then make one batch, in their order.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    engine, result = measure(options)
    write_whole(options.out, json.dumps(result, indent=1) + "\n")
    for row in result["batches"]:
        print(
            f"{result['weights']}: {row['batch']} tokens hit {row['mean_share']:.1%} of {result['experts']} experts, "
            f"uniform routing {row['expected_share']:.1%}",
            file=sys.stderr,
        )
    if options.distributions:
        keep_distributions(engine, options)


if __name__ == "__main__":
    main()
