"""How evenly a checkpoint's tokens spread over the experts, measured inside vLLM.

    STACK_PYTHON -m helpers.instack.routing --model DIR [--load-format dummy] --batch 1 16 64 --out FILE

A hook on every router of the served model sees the logits that vLLM computes and counts the distinct experts of
each layer and decode step. Uniform routing hits E * (1 - (1 - k/E)**B) of E experts with B tokens of k each.
"""

import argparse
import json
import os
import random
import sys
from pathlib import Path

PROMPT_TOKENS = 32
DECODE_STEPS = 48
TEXT_TOKENS = 199_998  # random prompts draw from the ordinary tokens


class RoutingProbe:
    """Mixed into vLLM's workers (`worker_extension_cls`): counts the experts that each router call hits."""

    def watch_routing(self, per_token: int) -> int:
        """Hook every router; returns how many there are."""
        self.seen: list[tuple[int, int, int]] = []
        model = self.get_model()
        routers = [module for name, module in model.named_modules() if name.endswith("mlp.router")]
        for layer, module in enumerate(routers):

            def count(_module, _inputs, output, layer=layer):
                logits = output[0] if isinstance(output, tuple) else output
                chosen = logits.float().topk(per_token, dim=-1).indices
                self.seen.append((layer, logits.shape[0], chosen.unique().numel()))

            module.register_forward_hook(count)
        return len(routers)

    def take_routing(self) -> list[tuple[int, int, int]]:
        """(layer, tokens, distinct experts) of every call since the last time."""
        taken, self.seen = self.seen, []
        return taken


def expected_hits(experts: int, per_token: int, batch: int) -> float:
    """Distinct experts with uniform routing."""
    return experts * (1 - (1 - per_token / experts) ** batch)


def summary(seen: list[tuple[int, int, int]], layers: int, experts: int, per_token: int, batch: int) -> dict:
    """Share of the experts hit, by layer and overall, over the decode steps of `batch` tokens."""
    by_layer: list[list[int]] = [[] for _ in range(layers)]
    for layer, tokens, distinct in seen:
        if tokens == batch:
            by_layer[layer].append(distinct)
    steps = min(map(len, by_layer))
    if not steps:
        raise SystemExit(
            f"no decode step had {batch} tokens: raise --gpu-memory-utilization or lower --batch"
        )
    shares = [sum(hits) / len(hits) / experts for hits in by_layer]
    expected = expected_hits(experts, per_token, batch) / experts
    mean = sum(shares) / layers
    return {
        "batch": batch,
        "steps": steps,
        "expected_share": expected,
        "mean_share": mean,
        "ratio": mean / expected,
        "share_by_layer": shares,
    }


def measure(options: argparse.Namespace) -> dict:
    """Load the model and decode with each batch size."""
    from vllm import LLM, SamplingParams

    config = json.loads((Path(options.model) / "config.json").read_text())
    layers, experts = config["num_hidden_layers"], config["num_local_experts"]
    per_token = config["num_experts_per_tok"]
    largest = max(options.batch)
    engine = LLM(
        options.model,
        load_format=options.load_format,
        enforce_eager=True,  # a captured graph would run past the hooks
        enable_prefix_caching=False,
        gpu_memory_utilization=options.gpu_memory_utilization,
        kv_cache_memory_bytes=options.kv_cache_bytes,
        max_model_len=1024,
        max_num_seqs=largest,
        max_num_batched_tokens=max(2048, largest * PROMPT_TOKENS),
        worker_extension_cls=f"{RoutingProbe.__module__}.RoutingProbe"
        if RoutingProbe.__module__ != "__main__"
        else "helpers.instack.routing.RoutingProbe",
        seed=options.seed,
    )
    found = engine.collective_rpc("watch_routing", args=(per_token,))[0]
    if found != layers:
        raise SystemExit(f"the model has {layers} layers, {found} routers were found")
    draw = random.Random(options.seed)
    results = []
    for batch in options.batch:
        prompts = [
            {"prompt_token_ids": [draw.randrange(TEXT_TOKENS) for _ in range(PROMPT_TOKENS)]}
            for _ in range(batch)
        ]
        sampling = SamplingParams(temperature=1.0, max_tokens=DECODE_STEPS, ignore_eos=True)
        engine.generate(prompts, sampling, use_tqdm=False)
        results.append(summary(engine.collective_rpc("take_routing")[0], layers, experts, per_token, batch))
    import vllm

    return {
        "weights": "dummy" if options.load_format == "dummy" else options.weights,
        "layers": layers,
        "experts": experts,
        "experts_per_token": per_token,
        "vllm": vllm.__version__,
        "batches": results,
    }


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
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if not (Path(options.model) / "config.json").is_file():
        parser.error(f"{options.model} is no checkpoint folder: it has no config.json")
    result = measure(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    part = options.out.with_name(f".{options.out.name}.part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(part, options.out)
    for row in result["batches"]:
        print(
            f"{result['weights']}: {row['batch']} tokens hit {row['mean_share']:.1%} of {result['experts']} experts, "
            f"uniform routing {row['expected_share']:.1%}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
