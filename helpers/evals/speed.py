"""A range for the speed of a deployment that nobody has measured: the fractions of the roofline that others reached."""

from helpers.bench.roofline import bound
from helpers.bench.sweep import Load
from helpers.errors import CookbookError
from helpers.paths import RECORDS
from helpers.recipes import load_model, load_target
from helpers.records.anchors import load_anchors
from helpers.records.curves import load_records

NEAR = 8  # points at down to an eighth of the run's requests in flight are compared with it


def limit(target: str, model: str, load: Load, tensor_parallel: int) -> float | None:
    """The roofline of a load in output tok/s, prefill hidden; None where the recipe names no device speed."""
    try:
        device = load_target(target).device
        found = bound(load_model(model), device, load, tensor_parallel) if device else None
    except CookbookError:
        return None
    return found.overlap_tok_s if found else None


def fractions(concurrency: int) -> list[float]:
    """Of the roofline, as vLLM reached them at like loads: published points, and this repository's own on GPUs."""
    near = range(max(1, concurrency // NEAR), concurrency + 1)
    out = []
    for anchor in load_anchors():
        if anchor.engine != "vLLM" or anchor.concurrency not in near:
            continue
        load = Load(
            concurrency=anchor.concurrency,
            input_tokens=anchor.input_tokens,
            output_tokens=anchor.output_tokens,
            prompts=10 * anchor.concurrency,
        )
        if top := limit(anchor.hardware, anchor.model, load, anchor.tensor_parallel):
            out.append(anchor.output_tok_s_per_gpu * anchor.tensor_parallel / top)
    for folder in RECORDS.glob("*/"):
        for record in load_records(folder.name):
            out += [p.roofline_fraction for p in record.throughput if p.roofline_fraction and p.concurrency in near]
    return sorted(out)


def scaled(
    target: str, model: str, gpus: int, concurrency: int, prompt: int, answer: int
) -> tuple[tuple[float, float], int] | None:
    """(slowest, fastest) output tok/s and the number of points that they come from; None where nothing compares.

    What the same hardware reaches with another model is slow enough, too: a small one on many GPUs waits for launches
    and all-reduces, which the roofline leaves out.
    """
    load = Load(concurrency=concurrency, input_tokens=prompt, output_tokens=max(2, answer), prompts=10 * concurrency)
    top, reached = limit(target, model, load, gpus), fractions(concurrency)
    if not top or not reached:
        return None
    here = [
        a.output_tok_s_per_gpu * a.tensor_parallel
        for a in load_anchors()
        if (a.engine, a.hardware, a.tensor_parallel) == ("vLLM", target, gpus)
        and a.concurrency
        and concurrency // NEAR <= a.concurrency <= concurrency
    ]
    slowest = min([reached[0] * top, *here])
    return (slowest, reached[-1] * top), len(reached)
