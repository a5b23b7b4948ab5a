"""What the tuned profiles of a target are to reach against bare `vllm serve`, beside what its records show."""

from collections.abc import Callable
from dataclasses import dataclass

from helpers.bench.tune.choice import WORST
from helpers.bench.tune.objective import Objective
from helpers.bench.tune.plan import changed
from helpers.bench.tune.study import Study, compared, studies
from helpers.pages.answers import Answer
from helpers.records.curves import speed_records

THROUGHPUT, LATENCY = 1.15, 1.10  # x bare: output tok/s at LARGE and above, TPOT at concurrency 1
LARGE = 256
TOP = {"gpt-oss-20b": 16_000, "gpt-oss-120b": 8_000}  # output tok/s on one H200; published best 13,890 and 6,798
NEVER = "never run here"


@dataclass(frozen=True)
class Bar:
    """One thing to reach, what was measured, and whether that is enough (None: never run)."""

    what: str
    bar: str
    measured: str
    reached: bool | None

    def row(self) -> str:
        state = {None: NEVER, True: "reached", False: "**missed**"}[self.reached]
        return f"| {self.what} | {self.bar} | {self.measured} | {state} |"


def bars(target: str = "h200") -> Answer:
    """Every bar as a Markdown table; the absolute ones hold for one H200."""
    rows = [
        bar.row() for model in TOP for bar in (throughput(target, model), latency(target, model), top(target, model))
    ]
    return Answer("\n".join(["| what | bar | measured | |", "|---|---|---|---|", *rows]))


def throughput(target: str, model: str) -> Bar:
    """Every configuration at `LARGE` and above; its worst point there counts."""
    what = f"{model}, throughput at concurrency {LARGE} and above, against bare"
    return best(
        what, THROUGHPUT, compared(target, model, "throughput"), Objective("throughput"), lambda users: users >= LARGE
    )


def latency(target: str, model: str) -> Bar:
    """TPOT at concurrency 1 of every configuration, whatever its study was for."""
    what = f"{model}, TPOT at concurrency 1, against bare"
    return best(what, LATENCY, compared(target, model), Objective("latency"), lambda users: users == 1)


def best(what: str, bar: float, found: list[Study], goal: Objective, counts: Callable[[int], bool]) -> Bar:
    """Every configuration at the concurrencies that count, each against its own study's bare; the bar is reached by
    one that is nowhere below 0.98x."""
    said, reached = [], False
    for study in found:
        places = [index for index, users in enumerate(study.users_per_gpu) if counts(users)]
        for trial in study.trials if places else []:
            if trial.state == "failed":
                continue
            ratios = goal.ratios(study.baseline.points, trial.points)
            those = [ratios[place] for place in places]
            words = (
                f"{ratio:.2f}x at {study.users_per_gpu[place]}" for ratio, place in zip(those, places, strict=True)
            )
            said.append(f"{changed(trial.values)}: {', '.join(words)}")
            reached = reached or (min(ratios) >= WORST and min(those) >= bar)
    return Bar(what, f"{bar:.2f}x", "; ".join(said), reached) if said else Bar(what, f"{bar:.2f}x", NEVER, None)


def top(target: str, model: str) -> Bar:
    """The most output tok/s at 1,024/1,024 tokens of any record or study on one GPU, and the flags that gave it."""
    what = f"{model} on one GPU, output tok/s at 1,024/1,024 tokens"
    alone = [r for r in speed_records(target) if r.model == model and r.serving.tensor_parallel_size == 1]
    found = [
        (p, r.serving.variant or f"{r.serving.profile} profile")
        for r in alone
        if r.serving.replicas == 1
        for p in r.throughput
    ]
    trials = [t for study in studies(target, model) for t in (study.baseline, *study.trials) if t and t.gpus == 1]
    found += [(p, changed(t.values) if t.values else "bare vllm serve") for t in trials for p in t.points]
    found = [(p, flags) for p, flags in found if (p.input_tokens, p.output_tokens) == (1024, 1024)]
    if not found:
        return Bar(what, f"{TOP[model]:,}", NEVER, None)
    most, flags = max(found, key=lambda one: one[0].output_tok_s_per_gpu)
    rate = most.output_tok_s_per_gpu
    own = max((p.output_tok_s_per_gpu for p, by in found if by.endswith("profile")), default=rate)
    recipe = f"; the recipe's flags {own:,.0f}" if own < rate else ""
    said = f"{rate:,.0f} at concurrency {most.concurrency} ({flags}{recipe})"
    return Bar(what, f"{TOP[model]:,}", said, rate >= TOP[model])
