"""The matrix target x model x tensor-parallel size x profile, its states from the claims."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from helpers.recipes import load_target, target_names
from helpers.records.claims import ACCURACY_FIRST, Claim

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
        spoken.setdefault(place, []).append(_newest(found))
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


def _newest(claims: list[Claim]) -> Claim:
    """The claim that speaks, the last one, with the points of every sweep of its command."""
    last = claims[-1]
    for claim in reversed(claims[:-1]):
        if last.setting and (claim.setting, claim.state) == (last.setting, last.state):
            last = last.joined(claim)
    return last


def brief(rows: list[MatrixRow]) -> list[MatrixRow]:
    """The recommended combination of each target and model, and every other one that has claims."""
    return [row for row in rows if row.recommended or row.claims]


def _place(claim: Claim) -> Place:
    return (claim.target, claim.model, claim.tensor_parallel_size, claim.profile)
