"""What run records say about speed: the best layout for a speed per user, the Pareto front, two records compared; no widgets."""

import csv
import io
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from helpers.errors import CookbookError
from helpers.paths import RECORDS, RUNS
from helpers.records.curves import points_of
from helpers.records.record import Point, RunRecord

NOISE = 0.02  # two runs of one setting differ by up to this share: less says nothing (docs/benchmarks.md)
# what an axis may show: its label, the value of a point
AXES: dict[str, tuple[str, Callable[[Point], float]]] = {
    "tok/s per user": ("speed for one user (output tok/s, 1000 / TPOT p50)", lambda p: p.tok_s_per_user),
    "tok/s per GPU": ("throughput (output tok/s per GPU)", lambda p: p.output_tok_s_per_gpu),
    "tok/s": ("throughput of the deployment (output tok/s)", lambda p: p.output_tok_s),
    "TPOT": ("TPOT p50 (ms per output token)", lambda p: p.tpot_ms.p50),
    "TTFT": ("TTFT p50 (ms to the first token)", lambda p: p.ttft_ms.p50),
    "e2e": ("whole request p50 (ms)", lambda p: p.e2e_ms.p50),
    "concurrency": ("concurrency (requests in flight)", lambda p: p.concurrency),
}
COMPARED = ("tok/s", "TTFT", "TPOT")


@dataclass(frozen=True)
class SpeedRecord:
    """One record with speeds in it; `own`: a run of this machine, not a committed one."""

    record: RunRecord
    own: bool

    @property
    def label(self) -> str:
        """What tells it from the others: target, model, layout, vLLM, weights, time."""
        r, own = self.record, ", own run" if self.own else ""
        what = f"{r.target} {r.model} {r.serving.label} {r.serving.profile}"
        return f"{what}, vLLM {r.versions['vllm']}, {r.weights} weights, {r.finished:%Y-%m-%d %H:%M}{own}"

    def short(self, beside: Sequence["SpeedRecord"]) -> str:
        """What tells it from the records beside it in a figure: target and model only where those differ."""
        r, alike = self.record, {(one.record.target, one.record.model) for one in beside}
        what = "" if len(alike) == 1 else f"{r.target} {r.model} "
        return f"{what}{r.serving.label} {r.serving.profile}, vLLM {r.versions['vllm']}, {r.finished:%d %b %H:%M:%S}"

    def points(self, lengths: tuple[int, int]) -> list[Point]:
        """Its points at a pair of input and output tokens, by concurrency."""
        return sorted(points_of(self.record, *lengths), key=lambda point: point.concurrency)

    def command(self) -> str:
        """The command that was measured, ready to paste."""
        exports = [f"export {name}={shlex.quote(value)}" for name, value in self.record.env.items()]
        return "\n".join([*exports, shlex.join(self.record.argv).replace(" --", " \\\n    --")])


def speed_sources() -> list[SpeedRecord]:
    """Every passed record with points, committed ones and own runs, the newest first; what cannot be read is left out."""
    found = []
    for own, files in ((False, RECORDS.glob("*/*.json")), (True, RUNS.glob("[0-9]*/record.json"))):
        for file in files:
            try:
                record = RunRecord.read(file)
            except CookbookError:
                continue  # an older schema, an evaluation's record
            found += [SpeedRecord(record, own)] if record.state == "passed" and record.throughput else []
    return sorted(found, key=lambda source: source.record.finished, reverse=True)


def lengths_of(chosen: Sequence[SpeedRecord]) -> list[tuple[int, int]]:
    """The pairs of input and output tokens in records, the most frequent first."""
    pairs = [(p.input_tokens, p.output_tokens) for source in chosen for p in source.record.throughput]
    return sorted(set(pairs), key=lambda pair: (-pairs.count(pair), pair))


def best(chosen: Sequence[SpeedRecord], lengths: tuple[int, int], least: float) -> tuple[SpeedRecord, Point] | None:
    """The measured point of most tok/s per GPU among those with `least` tok/s per user; None where there is none."""
    fast = [(s, p) for s in chosen for p in s.points(lengths) if p.tok_s_per_user >= least]
    return max(fast, key=lambda pair: pair[1].output_tok_s_per_gpu, default=None)


@dataclass(frozen=True)
class Ratio:
    """One figure of two records at one load."""

    concurrency: int
    figure: str  # one of COMPARED
    first: float
    second: float

    @property
    def change(self) -> float:
        """0.05 for five percent more in the second."""
        return self.second / self.first - 1

    @property
    def noise(self) -> bool:
        """Whether it lies inside the band that two equal runs differ by."""
        return abs(self.change) <= NOISE

    @property
    def better(self) -> bool:
        """More throughput, less latency."""
        return (self.change > 0) == (self.figure == "tok/s")


def compared(first: SpeedRecord, second: SpeedRecord, lengths: tuple[int, int]) -> list[Ratio]:
    """Every figure of `COMPARED` at each concurrency that both records have."""
    other = {point.concurrency: point for point in second.points(lengths)}
    both = [(point, other[point.concurrency]) for point in first.points(lengths) if point.concurrency in other]
    return [Ratio(a.concurrency, name, AXES[name][1](a), AXES[name][1](b)) for a, b in both for name in COMPARED]


def as_csv(chosen: Sequence[SpeedRecord], lengths: tuple[int, int]) -> str:
    """The points of the chosen records as a table: a row for each record and concurrency."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["record", "input_tokens", "output_tokens", *AXES])
    for source in chosen:
        for point in source.points(lengths):
            writer.writerow([source.label, *lengths, *(f"{value(point):.4g}" for _, value in AXES.values())])
    return text.getvalue()
