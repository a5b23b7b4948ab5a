"""The words of `vllm bench serve` behind a point of a sweep: what the load client is given, and what pages print."""

import json
from collections.abc import Mapping

PERCENTILES = "50,90,99"
# Past the end of an answer (--ignore-eos) a model may say special tokens only: hidden, they would send no chunk, and
# the next word would look like a burst of tokens.
EXTRA_BODY = json.dumps({"skip_special_tokens": False})


def bench_words(
    base_url: str,
    model: str,
    tokenizer: str,
    point: Mapping[str, int],
    *,
    prompts: int,
    output_tokens: int,
    seed: int,
    temperature: float = 1.0,
) -> list[str]:
    """What follows `vllm bench serve` for one pass over a point (`concurrency`, `input_tokens`, `shared_tokens` are read).

    Answers have exactly `output_tokens`: gpt-oss would end its answers to random prompts early, and points with answers
    of different lengths do not compare. So `--ignore-eos` goes on past the end.
    """
    shared = point.get("shared_tokens") or 0
    flags = {
        "backend": "openai",
        "endpoint": "/v1/completions",
        "base-url": base_url.rstrip("/"),
        "model": model,
        "tokenizer": tokenizer,
        "dataset-name": "random",
        **({"random-prefix-len": shared} if shared else {}),
        "random-input-len": point["input_tokens"] - shared,
        "random-output-len": output_tokens,
        "random-range-ratio": 0.0,
        "num-prompts": prompts,
        "max-concurrency": point["concurrency"],
        "request-rate": "inf",
        "temperature": temperature,
        "seed": seed,
        "percentile-metrics": "ttft,tpot,itl,e2el",
        "metric-percentiles": PERCENTILES,
        "ready-check-timeout-sec": 0,
        "num-warmups": 0,
        "extra-body": EXTRA_BODY,
    }
    return ["--ignore-eos", "--save-detailed", *(f"--{name}={value}" for name, value in flags.items())]
