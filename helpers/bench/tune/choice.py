"""Which configuration wins: the best of those that are nowhere clearly worse than bare `vllm serve`."""

from dataclasses import dataclass

from helpers.bench.tune.study import Study, Trial
from helpers.recipes.tuning import Values

WORST = 0.98  # of bare, at any point of the sweep; below it a configuration is not chosen
BETTER = 1.02  # of bare; less is what a repetition gives, too


@dataclass(frozen=True)
class Verdict:
    """One trial against the baseline of its study."""

    trial: Trial
    ratios: list[float]  # one per point of the sweep, above 1 is better than bare
    gain: float | None  # the objective's own ratio
    state: str  # chosen, slower, not better, over the limit, worse at a point, failed
    cause: str = ""

    @property
    def eligible(self) -> bool:
        return self.state in ("chosen", "slower")


def verdicts(study: Study) -> list[Verdict]:
    """Every trial judged, in the order in which they were measured."""
    found = [judge(study, trial) for trial in study.trials]
    best = max((v for v in found if v.eligible), key=lambda v: v.gain, default=None)
    return [Verdict(v.trial, v.ratios, v.gain, "chosen") if v is best else v for v in found]


def chosen(study: Study) -> Verdict | None:
    """The winner; None when nothing beats bare."""
    return next((verdict for verdict in verdicts(study) if verdict.state == "chosen"), None)


def together(found: list[Verdict], defaults: Values) -> Values:
    """The best of the values that beat bare when only they differed from the defaults, of every knob at once."""
    best = dict(defaults)
    for verdict in sorted((v for v in found if v.eligible), key=lambda v: v.gain):
        other = {name: value for name, value in verdict.trial.values.items() if value != defaults[name]}
        if len(other) == 1:
            best |= other  # in the order of their gains: the best of a knob comes last
    return best


def judge(study: Study, trial: Trial) -> Verdict:
    """One trial on its own; whether an eligible one is the best is not known here."""
    if trial.state == "failed":
        return Verdict(trial, [], None, "failed", trial.cause)
    goal, bare = study.goal, study.baseline.points
    ratios, gain = goal.ratios(bare, trial.points), goal.gain(bare, trial.points)
    worst = min(range(len(ratios)), key=ratios.__getitem__)
    if ratios[worst] < WORST:
        cause = f"{ratios[worst]:.2f}x at concurrency {study.users_per_gpu[worst]}, below {WORST}x"
        return Verdict(trial, ratios, gain, "worse at a point", cause)
    if gain is None:
        who = "bare" if goal.best(bare) is None else "it"
        return Verdict(trial, ratios, None, "over the limit", f"{who} keeps {goal.tpot_ms:g} ms at no point")
    if gain < BETTER:
        return Verdict(trial, ratios, gain, "not better", f"{gain:.2f}x, less than {BETTER}x is noise")
    return Verdict(trial, ratios, gain, "slower", "another is faster")
