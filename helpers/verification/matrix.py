"""The matrix target x model x tensor-parallel size x profile, its states from the claims."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from helpers.recipes import load_target, target_names
from helpers.verification.claims import ACCURACY_FIRST, Claim

NEVER = "never run here"


@dataclass(frozen=True)
class Row:
    """One combination that a recipe offers, and what is known about it."""

    target: str
    title: str
    model: str
    tensor_parallel_size: int
    profile: str
    recommended: bool
    checked: str  # what the flags were checked against
    claims: list[Claim] = field(default_factory=list)

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


def matrix(claims: Iterable[Claim], targets: list[str] | None = None) -> list[Row]:
    """A row for every combination of every target, each with one claim per contract group and weights.

    A run with today's flags speaks before any other, the newest before older ones; sweeps of one command add up.
    """
    newest: dict[tuple, Claim] = {}
    for claim in sorted(claims, key=lambda claim: (claim.same_flags, claim.day)):
        key = (_place(claim), claim.group, claim.weights)
        before = newest.get(key)
        alike = before and claim.setting and (before.setting, before.state) == (claim.setting, claim.state)
        newest[key] = claim.joined(before) if alike else claim
    rows = []
    for name in targets or target_names():
        target = load_target(name)
        for model, sizes in target.models.items():
            for size in sizes.tensor_parallel_size:
                for profile in target.serve.profiles:
                    place = (name, model, size, profile)
                    found = [claim for key, claim in newest.items() if key[0] == place]
                    found.sort(key=lambda claim: (claim.group, ACCURACY_FIRST.index(claim.weights)))
                    recommended = size == sizes.default and profile == target.defaults.profile
                    row = Row(name, target.title, model, size, profile, recommended, target.checked, found)
                    rows.append(row)
    return rows


def brief(rows: list[Row]) -> list[Row]:
    """The recommended combination of each target and model, and every other one that has claims."""
    return [row for row in rows if row.recommended or row.claims]


def _place(claim: Claim) -> tuple[str, str, int, str]:
    return (claim.target, claim.model, claim.tensor_parallel_size, claim.profile)
