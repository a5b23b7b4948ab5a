"""Copies on one host share its processors: what this costs, from a record of four copies."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache

from helpers.records.curves import speed_records
from helpers.records.record import Point, RunRecord
from maintain.sizing.queueing import Request, simulate
from maintain.sizing.speed import Layout, shares

TARGET = "h200"  # the target with a record of several copies on one host


@dataclass(frozen=True)
class Crowded(Layout):
    """A copy that shares its host with others: every stream on the host delays each step of all of them."""

    copies: int = 1
    host_us: float = 0.0  # microseconds a stream and step

    def _wait_ms(self, batch: float) -> float:
        return batch * self.copies * self.host_us / 1e3 if self.copies > 1 else 0.0

    def step_ms(self, batch: float, context: float, prefill: float, prompt: int) -> float:
        """Milliseconds of one step."""
        return super().step_ms(batch, context, prefill, prompt) + self._wait_ms(batch)

    def tpot_ms(self, batch: float, inputs: int, outputs: int) -> float:
        """Milliseconds per output token in a steady state."""
        return super().tpot_ms(batch, inputs, outputs) + self._wait_ms(batch)


def crowded(layout: Layout, copies: int, host_us: float) -> Crowded:
    """The same copy among others of its host."""
    own = {field.name: getattr(layout, field.name) for field in fields(layout)}
    return Crowded(**{**own, "copies": copies, "host_us": host_us})


def several() -> Iterator[tuple[RunRecord, Layout, Point]]:
    """(record, the layout of one copy, point) of every measured point of several copies, the most in flight last."""
    every = speed_records(TARGET)
    for record in every:
        if record.serving.replicas > 1 and not record.serving.variant:
            same = [one for one in every if one.versions["vllm"] == record.versions["vllm"]]
            size = record.serving.tensor_parallel_size
            layout = Layout(TARGET, record.model, size, shares(TARGET, record.model, same)[size])
            for point in sorted(record.throughput, key=lambda one: one.concurrency):
                yield record, layout, point


@cache
def host_us() -> float:
    """Microseconds that a stream costs each step of its host: fitted on the one point with the most streams."""
    record, layout, point = max(several(), key=lambda one: one[2].concurrency)
    alone = layout.tpot_ms(point.concurrency / record.serving.replicas, point.input_tokens, point.output_tokens)
    return 1e3 * (point.tpot_ms.p50 - alone) / point.concurrency


def predicted(record: RunRecord, layout: Layout, point: Point) -> tuple[float, float]:
    """(TPOT in ms, output tok/s of all copies by the simulated server) at a measured point of several copies."""
    copies = record.serving.replicas
    one = crowded(layout, copies, host_us())
    own, inputs, outputs = point.concurrency // copies, point.input_tokens, point.output_tokens
    asked = [Request(0.0, inputs, outputs) for _ in range(point.prompts // copies)]
    served = simulate(one, asked, closed=own)
    return one.tpot_ms(own, inputs, outputs), copies * served.tok_s
