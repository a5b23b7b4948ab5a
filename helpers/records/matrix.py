"""The matrix target x model x tensor-parallel size x profile, its states from the claims."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from helpers.recipes import load_target, target_names
from helpers.recipes.parameters import layout
from helpers.records.claims import ACCURACY_FIRST, OTHER_FLAGS, Claim, days

NEVER = "never run here"
Place = tuple[str, str, int, str]  # target, model, tensor-parallel size, profile


@dataclass(frozen=True)
class MatrixRow:
    """One combination that a recipe offers, and what is known about it."""

    target: str
    title: str
    model: str
    tensor_parallel_size: int
    profile: str
    recommended: bool
    checked: str  # what the flags were checked against
    claims: list[Claim] = field(default_factory=list[Claim])

    @property
    def state(self) -> str:
        """passed, failed, skipped, or "never run here": the worst of the claims that count."""
        states = {claim.state for claim in self.claims}
        return next((state for state in ("failed", "passed", "skipped") if state in states), NEVER)

    def line(self) -> str:
        """The claims in words, or that there are none and what the flags were checked against."""
        if not self.claims:
            return f"{NEVER}; {self.checked}"
        return "; ".join(claim.line() for claim in self.claims)


def matrix(claims: Iterable[Claim], targets: list[str] | None = None) -> list[MatrixRow]:
    """A row for every combination of every target, each with one claim per contract group and weights.

    A run with today's flags speaks before any other, the newest before older ones; sweeps of one command add up. A
    model that stood in for another (gpt-oss-nano, where weights cannot speak) has rows of its own where it ran.
    """
    spoken_by: dict[tuple[Place, str, str], list[Claim]] = {}
    for claim in sorted(claims, key=lambda claim: (claim.same_flags, claim.day)):
        spoken_by.setdefault((_place(claim), claim.group, claim.weights), []).append(claim)
    spoken: dict[Place, list[Claim]] = {}
    for (place, _, _), found in spoken_by.items():
        spoken.setdefault(place, []).append(newest(found))
    rows: list[MatrixRow] = []
    for name in targets or target_names():
        target = load_target(name)
        offered = [
            (name, model, size, profile)
            for model, sizes in target.models.items()
            for size in sizes.tensor_parallel_size
            for profile in target.serve.profiles
        ]
        beside = [place for place in sorted(spoken) if place[0] == name and place not in offered]
        for place in [*offered, *beside]:
            _, model, size, profile = place
            found = sorted(spoken.get(place, []), key=lambda claim: (claim.group, ACCURACY_FIRST.index(claim.weights)))
            default = target.models[model].default if model in target.models else None
            recommended = size == default and profile == target.defaults.profile
            rows.append(MatrixRow(name, target.title, model, size, profile, recommended, target.checked, found))
    return rows


@dataclass(frozen=True)
class TargetSummary:
    """A target in one row: what was measured on it, which contracts held and with which model, and the last day of a run."""

    target: str
    title: str
    # "gpt-oss-120b TP1: synthetic weights, vLLM 0.32.0, 2026-11-27 (the pinned release, the newest)"
    measured: list[str]
    held: list[str]  # "endpoints, streaming with gpt-oss-nano, ..."
    day: str  # ISO date; empty where nothing ran


def summaries(rows: list[MatrixRow]) -> list[TargetSummary]:
    """A row for each target, those on which something ran first."""
    by_target: dict[str, list[MatrixRow]] = {}
    for row in rows:
        by_target.setdefault(row.target, []).append(row)
    found = [_summary(own) for own in by_target.values()]
    return sorted(found, key=lambda summary: not summary.day)


def _summary(rows: list[MatrixRow]) -> TargetSummary:
    measured: dict[tuple[bool, str, str, str], dict[str, date]] = {}
    held: dict[tuple[bool, str, str, str], dict[str, date]] = {}
    sound = {(row.model, claim.group) for row in rows for claim in row.claims if claim.same_flags}
    for row in rows:
        for claim in (claim for claim in row.claims if claim.state == "passed"):
            age = claim.age.words()
            if claim.measures:
                size = layout(row.tensor_parallel_size, claim.replicas)
                key = (not claim.same_flags, claim.weights, claim.vllm, age)
                measured.setdefault(key, {}).setdefault(f"{row.model} {size}", claim.day)
            elif claim.group != "lifecycle" and (claim.same_flags or (row.model, claim.group) not in sound):
                own = (not claim.same_flags, row.model, claim.vllm, age)
                held.setdefault(own, {})[claim.group.replace("_", " ")] = claim.day
    today = {model for (older, *_), models in measured.items() if not older for model in models}
    for (older, *_), models in measured.items():
        for model in [model for model in models if older and model in today]:
            del models[model]

    def line(what: str, older: bool, vllm: str, age: str, found: dict[str, date]) -> str:
        spread = days(min(found.values()), max(found.values()))
        return f"{what}, vLLM {vllm}, {spread} ({age}){f', {OTHER_FLAGS}' if older else ''}"

    return TargetSummary(
        target=rows[0].target,
        title=rows[0].title,
        measured=[
            line(f"{', '.join(models)}: {weights} weights", older, vllm, age, models)
            for (older, weights, vllm, age), models in sorted(measured.items())
            if models
        ],
        held=[
            line(f"{', '.join(sorted(groups))} with {model}", older, vllm, age, groups)
            for (older, model, vllm, age), groups in sorted(held.items())
        ],
        day=max((claim.day.isoformat() for row in rows for claim in row.claims), default=""),
    )


def newest(claims: list[Claim]) -> Claim:
    """The claim that speaks, the last one, with the points of every sweep of its command."""
    last = claims[-1]
    for claim in reversed(claims[:-1]):
        if last.setting and (claim.setting, claim.state) == (last.setting, last.state):
            last = last.joined(claim)
    return last


def _place(claim: Claim) -> Place:
    return (claim.target, claim.model, claim.tensor_parallel_size, claim.profile)
