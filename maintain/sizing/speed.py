"""How long one step of a server takes: the roofline's time over the share of it that records reached."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from helpers.bench.roofline import decode_flops, prefill_flops, step_bytes
from helpers.recipes import Model, load_model, load_target, target_names
from helpers.recipes.target import Device
from helpers.records.curves import speed_records
from helpers.records.record import Point, RunRecord

LENGTHS = (1024, 1024)  # the sweep that every record has: what the shares are taken from


def step_ms(
    model: Model, device: Device, size: int, batch: float, context: float, prefill: float, prompt: int
) -> float:
    """Milliseconds at the roofline of one step of `batch` sequences with `context` tokens each, in which `prefill` tokens of
    prompts of `prompt` tokens are read too.

    Memory and arithmetic overlap by half: the mean of "fully" (the longer one) and "not at all" (their sum).
    """
    geometry = model.geometry
    assert device.bandwidth_gb_s and device.bf16_tflops, "only targets whose speed is known are asked"
    moved = step_bytes(geometry, model.weights.precision, max(batch, 1), context) / (device.bandwidth_gb_s * 1e9 * size)
    flops = batch * decode_flops(geometry, context) + prefill * prefill_flops(geometry, prompt) / prompt
    computed = flops / (device.bf16_tflops * 1e12 * size)
    return 1e3 * (max(moved, computed) + moved + computed) / 2


def steady_ms(model: Model, device: Device, size: int, batch: float, inputs: int, outputs: int) -> float:
    """The same in a steady state: for each token that a sequence gets, `inputs / outputs` tokens of prompts are read."""
    return step_ms(model, device, size, batch, inputs + outputs / 2, batch * inputs / outputs, inputs)


@dataclass(frozen=True)
class Shares:
    """The share of the roofline that a model reached at a tensor-parallel size, by requests in flight."""

    target: str  # where it was measured
    model: str
    size: int
    points: tuple[tuple[int, float], ...]  # requests in flight on one copy, share
    vllm: str = ""  # the release that reached it; several with commas
    split: str = ""  # whose loss from one size to another is in it, where the size itself was not measured

    def at(self, batch: float) -> float:
        """The share at a number of requests in flight: between two measured ones along the logarithm, else the nearest."""
        inside = [(math.log(count), share) for count, share in self.points]
        place = math.log(max(batch, 1))
        if place <= inside[0][0] or place >= inside[-1][0]:
            return inside[0][1] if place <= inside[0][0] else inside[-1][1]
        (x0, y0), (x1, y1) = next(pair for pair in itertools.pairwise(inside) if pair[1][0] >= place)
        return y0 + (y1 - y0) * (place - x0) / (x1 - x0)


def shares(target: str, model: str, records: Iterable[RunRecord] | None = None) -> dict[int, Shares]:
    """Tensor-parallel size -> the shares that a target's single servers reached, newer records before older ones."""
    found: dict[int, dict[int, float]] = {}
    releases: dict[int, set[str]] = {}
    device, about = load_target(target).device, load_model(model)
    for record in speed_records(target) if records is None else records:
        served = record.serving
        if record.model != model or served.replicas > 1 or served.variant or not device.bandwidth_gb_s:
            continue
        for point in record.throughput:
            if (point.input_tokens, point.output_tokens) == LENGTHS:
                own = found.setdefault(served.tensor_parallel_size, {})
                own[point.concurrency] = share(about, target, served.tensor_parallel_size, point)
                releases.setdefault(served.tensor_parallel_size, set()).add(record.versions["vllm"])
    return {
        size: Shares(target, model, size, tuple(sorted(own.items())), ", ".join(sorted(releases[size])))
        for size, own in found.items()
        if len(own) > 1
    }


def share(model: Model, target: str, size: int, point: Point) -> float:
    """Roofline time over measured time of a token, at a measured point."""
    device = load_target(target).device
    return (
        steady_ms(model, device, size, point.concurrency, point.input_tokens, point.output_tokens) / point.tpot_ms.p50
    )


@dataclass(frozen=True)
class Layout:
    """One copy of a model on a target: its device, and the shares that tell its speed."""

    target: str
    model: str
    size: int
    shares: Shares

    @cached_property
    def about(self) -> Model:
        return load_model(self.model)

    @cached_property
    def device(self) -> Device:
        return load_target(self.target).device

    @property
    def ran(self) -> bool:
        """Whether its speed is a record's own, not carried over from another machine or size."""
        return (self.shares.target, self.shares.size) == (self.target, self.size)

    @property
    def source(self) -> str:
        """Where its speed comes from."""
        own, found = self.shares, f"{self.shares.target} TP{self.shares.size}, vLLM {self.shares.vllm}"
        return f"records of {found}" if self.ran else f"roofline x the share of {found}{own.split}: not measured here"

    def step_ms(self, batch: float, context: float, prefill: float, prompt: int) -> float:
        """Milliseconds of one step."""
        return step_ms(self.about, self.device, self.size, batch, context, prefill, prompt) / self.shares.at(batch)

    def tpot_ms(self, batch: float, inputs: int, outputs: int) -> float:
        """Milliseconds per output token in a steady state of `batch` requests in flight."""
        return steady_ms(self.about, self.device, self.size, batch, inputs, outputs) / self.shares.at(batch)


def layouts(model: str) -> list[Layout]:
    """Every target and size that a recipe offers for a model and whose speed can be told, measured or not."""
    measured = [one for name in target_names() for one in shares(name, model).values()]
    found = []
    for name in target_names():
        target = load_target(name)
        if model in target.models and target.device.bandwidth_gb_s and target.device.bf16_tflops:
            for size in target.models[model].tensor_parallel_size:
                near = [one for one in measured if one.target == name] or measured
                if near:
                    found.append(Layout(name, model, size, at_size(nearest(near, size), size, measured)))
    return found


def nearest(found: Iterable[Shares], size: int) -> Shares:
    """The shares of the size that is nearest to a wanted one, by ratio."""
    return min(found, key=lambda one: abs(math.log(one.size / size)))


def at_size(own: Shares, size: int, measured: Iterable[Shares]) -> Shares:
    """The shares of a size that their target did not run: times what another target, which ran several, lost or won between
    its nearest ones. More GPUs a copy reach less of their roofline, and a share carried over would hide that."""
    others = [one for one in measured if one.target != own.target]
    if own.size == size or not others or nearest(others, size).size == nearest(others, own.size).size:
        return own
    target = nearest(others, size).target
    there, here = (nearest([one for one in others if one.target == target], one) for one in (size, own.size))
    counts = sorted({count for one in (own, there) for count, _ in one.points})
    points = tuple((count, own.at(count) * there.at(count) / here.at(count)) for count in counts)
    said = f", TP{there.size} over TP{here.size} of {target}, vLLM {there.vllm}"
    return replace(own, points=points, split=said)
