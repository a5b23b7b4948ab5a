"""What the tuned profiles of a target are to reach against bare `vllm serve`, beside what its records show."""

from dataclasses import dataclass

from helpers.bench.records import speed_records
from helpers.bench.trades import Answer
from helpers.tune.choice import WORST, Verdict, verdicts
from helpers.tune.plan import changed
from helpers.tune.study import Study, studies

THROUGHPUT, LATENCY = 1.15, 1.10  # x bare: output tok/s at LARGE and above, TPOT at concurrency 1
LARGE = 256
TOP = {
    "gpt-oss-20b": 16_000,
    "gpt-oss-120b": 8_000,
}  # output tok/s on one H200; published best 13,890 and 6,798
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


def bars(target: str) -> Answer:
    """Every bar of a target as a Markdown table."""
    rows = [
        bar.row()
        for model in TOP
        for bar in (throughput(target, model), latency(target, model), top(target, model))
    ]
    return Answer("\n".join(["| what | bar | measured | |", "|---|---|---|---|", *rows]))


def throughput(target: str, model: str) -> Bar:
    """The worst point at `LARGE` and above of the configuration that is best there."""
    what = f"{model}, throughput at concurrency {LARGE} and above, against bare"
    found = newest(target, model, "throughput")
    if found is None:
        return Bar(what, f"{THROUGHPUT}x", NEVER, None)
    large = [index for index, users in enumerate(found.concurrency) if users >= LARGE]
    return best(what, THROUGHPUT, found, large)


def latency(target: str, model: str) -> Bar:
    """TPOT at concurrency 1 of the best configuration."""
    what = f"{model}, TPOT at concurrency 1, against bare"
    found = newest(target, model, "latency")
    return (
        Bar(what, f"{LATENCY}x", NEVER, None)
        if found is None
        else best(what, LATENCY, found, [found.concurrency.index(1)])
    )


def best(what: str, bar: float, study: Study, places: list[int]) -> Bar:
    """The configuration whose worst ratio at these points of the sweep is best, of those that are nowhere below 0.98x."""
    able = [verdict for verdict in verdicts(study) if verdict.ratios and min(verdict.ratios) >= WORST]
    if not able:
        return Bar(what, f"{bar}x", f"every configuration is below {WORST}x at some point", False)
    worst = lambda verdict: min(verdict.ratios[place] for place in places)  # noqa: E731
    won: Verdict = max(able, key=worst)
    points = ", ".join(f"{won.ratios[place]:.2f}x at {study.concurrency[place]}" for place in places)
    return Bar(what, f"{bar}x", f"{points} ({changed(won.trial.values)})", worst(won) >= bar)


def top(target: str, model: str) -> Bar:
    """The most output tok/s per GPU at 1,024/1,024 tokens of any record or study on one GPU."""
    what = f"{model}, output tok/s per GPU at 1,024/1,024 tokens"
    points = [p for r in speed_records(target) if r.model == model for p in r.throughput]
    points += [p for study in studies(target, model) for trial in study.trials for p in trial.points]
    points = [p for p in points if (p.input_tokens, p.output_tokens) == (1024, 1024)]
    if not points:
        return Bar(what, f"{TOP[model]:,}", NEVER, None)
    most = max(points, key=lambda point: point.output_tok_s_per_gpu)
    rate = most.output_tok_s_per_gpu
    return Bar(what, f"{TOP[model]:,}", f"{rate:,.0f} at concurrency {most.concurrency}", rate >= TOP[model])


def newest(target: str, model: str, objective: str) -> Study | None:
    """The newest study of an objective, where there is one."""
    found = studies(target, model, objective)
    return found[-1] if found else None
