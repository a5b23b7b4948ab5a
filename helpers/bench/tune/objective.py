"""What is searched for: the ratio of a configuration to bare `vllm serve`, point by point and in one number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from helpers.errors import UsageError
from helpers.recipes.tuning import ObjectiveName
from helpers.records.record import Point

NAMES = get_args(ObjectiveName)
LIMITED = "throughput-under-tpot"


@dataclass(frozen=True)
class Objective:
    """One of the objectives; `tpot_ms` is the limit of throughput-under-tpot.

    >>> Objective("latency").profile
    'latency'
    """

    name: str
    tpot_ms: float | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UsageError(f"unknown objective {self.name!r}", do=f"choose one of {', '.join(NAMES)}")
        if self.name == LIMITED and (self.tpot_ms is None or self.tpot_ms <= 0):
            raise UsageError(f"{LIMITED} needs a limit", do="pass the TPOT in ms, e.g. --tpot 20")
        if self.name != LIMITED and self.tpot_ms is not None:
            raise UsageError(f"{self.name} takes no TPOT limit", do=f"use --objective {LIMITED}, or leave --tpot out")

    @property
    def profile(self) -> str:
        """The profile of the recipe that a result goes into."""
        return "latency" if self.name == "latency" else "throughput"

    @property
    def per_gpu(self) -> bool:
        """Whether load and result count per GPU, so that one server on two GPUs compares with two servers."""
        return self.name != "latency"

    @property
    def unit(self) -> str:
        return "ms TPOT" if self.name == "latency" else "output tok/s per GPU"

    def check(self, users_per_gpu: Sequence[int]) -> None:
        """Refuse a sweep that cannot show the objective."""
        if self.name == "latency" and 1 not in users_per_gpu:
            raise UsageError(f"latency is TPOT at concurrency 1, the sweep has {list(users_per_gpu)}", do="add 1 to it")

    def load(self, users_per_gpu: int, gpus: int) -> int:
        """The requests in flight at a point of the sweep, for a server on `gpus` GPUs."""
        return users_per_gpu * gpus if self.per_gpu else users_per_gpu

    def value(self, point: Point) -> float:
        """The measured figure that counts, in `unit`."""
        return point.tpot_ms.p50 if self.name == "latency" else point.output_tok_s_per_gpu

    def ratios(self, baseline: Sequence[Point], points: Sequence[Point]) -> list[float]:
        """Better than bare is above 1, at each point of the sweep."""
        pairs = [(self.value(bare), self.value(own)) for bare, own in zip(baseline, points, strict=True)]
        return [bare / own if self.name == "latency" else own / bare for bare, own in pairs]

    def best(self, points: Sequence[Point]) -> Point | None:
        """The point that the objective is about; None where none keeps the limit."""
        if self.name == "latency":
            return next((point for point in points if point.concurrency == 1), None)
        within = [p for p in points if self.tpot_ms is None or p.tpot_ms.p50 <= self.tpot_ms]
        return max(within, key=self.value, default=None)

    def gain(self, baseline: Sequence[Point], points: Sequence[Point]) -> float | None:
        """The objective's own ratio to bare; None where the configuration (or bare itself) misses the limit."""
        bare, own = self.best(baseline), self.best(points)
        if bare is None or own is None:
            return None
        return self.ratios([bare], [own])[0]

    def __str__(self) -> str:
        return f"{self.name} (TPOT at most {self.tpot_ms:g} ms)" if self.tpot_ms else self.name
