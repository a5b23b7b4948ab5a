"""How far two sets of next-token distributions lie apart: what a kernel, a cache type or a batch size changes.

    STACK_PYTHON -m benchmarks.campaign.distances REFERENCE.safetensors OTHER.safetensors

Both were kept by `benchmarks.campaign.routing --distributions` for the same prompts. Prints JSON: the share of prompts
whose likeliest token is the same, and the divergence KL(reference || other) in nats.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

ROWS = 64  # at once: a row is a whole vocabulary


def distance(reference: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> dict:
    """Agreement of the likeliest tokens (`top1`) and divergence of the log probabilities (`log_p`), a prompt each row."""
    shapes = [tuple(one["log_p"].shape) for one in (reference, other)]
    if shapes[0] != shapes[1]:
        raise SystemExit(f"{shapes[0]} and {shapes[1]} are not of the same prompts")
    same, divergences, unrelated = int((reference["top1"] == other["top1"]).sum()), [], []
    for p, q in zip(reference["log_p"].split(ROWS), other["log_p"].split(ROWS), strict=True):
        p, q = p.float(), q.float()
        divergences.append((p.exp() * (p - q)).sum(dim=-1))
        unrelated.append((p.exp() * (p - q.roll(1, 0))).sum(dim=-1))  # each prompt against another one's distribution
    kl = torch.cat(divergences)
    finite = bool(torch.isfinite(kl).all())
    quantile = lambda share: float(kl.quantile(share)) if finite else None  # noqa: E731
    return {
        "prompts": shapes[0][0],
        "finite": finite,
        "top1_agreement": same / shapes[0][0],
        "kl_mean": float(kl.mean()) if finite else None,
        "kl_p50": quantile(0.5),
        "kl_p99": quantile(0.99),
        "kl_unrelated_mean": float(torch.cat(unrelated).mean()) if finite else None,  # as far apart as answers can be
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("other", type=Path)
    options = parser.parse_args()
    tables = [load_file(path) for path in (options.reference, options.other)]
    print(json.dumps(distance(*tables), indent=1))


if __name__ == "__main__":
    main()
