"""What the tuned profiles of a target are to reach against bare `vllm serve`, beside what its records show."""

from collections.abc import Callable
from dataclasses import dataclass

from helpers.bench.tune.choice import WORST
from helpers.bench.tune.objective import Objective
from helpers.bench.tune.plan import changed
from helpers.bench.tune.study import Study, compared, studies
from helpers.pages.markdown import Markdown, row, table
from helpers.records.curves import speed_records
from helpers.records.matrix import NEVER

THROUGHPUT, LATENCY = 1.15, 1.10  # x bare: output tok/s at LARGE and above, TPOT at concurrency 1
LARGE = 256
TOP = {"gpt-oss-20b": 16_000, "gpt-oss-120b": 8_000}  # output tok/s on one H200; published best 13,890 and 6,798


@dataclass(frozen=True)
class Bar:
    """One thing to reach, what was measured, and whether that is enough (None: never run)."""

    what: str
    bar: str
    measured: str = NEVER
    reached: bool | None = None

    def row(self) -> str:
        """The bar as a line of the table."""
        return row(
            self.what, self.bar, self.measured, {None: NEVER, True: "reached", False: "**missed**"}[self.reached]
        )


def bars(target: str = "h200") -> Markdown:
    """Every bar as a Markdown table; the absolute ones hold for one H200."""
    rows = [made(target, model).row() for model in TOP for made in (throughput, latency, top)]
    return Markdown(table(["what", "bar", "measured", ""], rows))


def throughput(target: str, model: str) -> Bar:
    """Every configuration at `LARGE` and above; its worst point there counts."""
    what = f"{model}, throughput at concurrency {LARGE} and above, against bare"
    found = compared(target, model, "throughput")
    return best(what, THROUGHPUT, found, Objective("throughput"), lambda users: users >= LARGE)


def latency(target: str, model: str) -> Bar:
    """TPOT at concurrency 1 of every configuration, whatever its study was for."""
    what = f"{model}, TPOT at concurrency 1, against bare"
    return best(what, LATENCY, compared(target, model), Objective("latency"), lambda users: users == 1)


def best(what: str, bar: float, found: list[Study], goal: Objective, counts: Callable[[int], bool]) -> Bar:
    """Every configuration at the loads that count, each against its own study's bare; the bar is reached by one that
    is nowhere below 0.98x."""
    said, reached = [], False
    for study in found:
        places = [index for index, users in enumerate(study.users_per_gpu) if counts(users)]
        for trial in study.trials if places else []:
            if trial.state == "measured":
                ratios = goal.ratios(study.baseline.points, trial.points)
                words = ", ".join(f"{ratios[place]:.2f}x at {study.users_per_gpu[place]}" for place in places)
                said.append(f"{changed(trial.values)}: {words}")
                reached |= min(ratios) >= WORST and min(ratios[place] for place in places) >= bar
    return Bar(what, f"{bar:.2f}x", "; ".join(said), reached) if said else Bar(what, f"{bar:.2f}x")


def top(target: str, model: str) -> Bar:
    """The most output tok/s at 1,024/1,024 tokens of any record or study on one GPU, and the flags that gave it."""
    what = f"{model} on one GPU, output tok/s at 1,024/1,024 tokens"
    taken = [
        (point, record.serving.variant or f"{record.serving.profile} profile")
        for record in speed_records(target)
        if record.model == model and record.serving.tensor_parallel_size == record.serving.replicas == 1
        for point in record.throughput
    ]
    trials = [t for study in studies(target, model) for t in (study.baseline, *study.trials) if t and t.gpus == 1]
    taken += [(p, changed(t.values) if t.values else "bare vllm serve") for t in trials for p in t.points]
    rates = [
        (point.output_tok_s_per_gpu, point.concurrency, flags)
        for point, flags in taken
        if (point.input_tokens, point.output_tokens) == (1024, 1024)
    ]
    if not rates:
        return Bar(what, f"{TOP[model]:,}")
    rate, users, flags = max(rates)
    own = max((own for own, _, by in rates if by.endswith("profile")), default=rate)
    recipe = f"; the recipe's flags {own:,.0f}" if own < rate else ""
    return Bar(what, f"{TOP[model]:,}", f"{rate:,.0f} at concurrency {users} ({flags}{recipe})", rate >= TOP[model])
