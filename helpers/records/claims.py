"""Claims: target x model x tensor-parallel size x profile x contract group, each drawn from one run record."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from helpers import paths
from helpers.errors import CookbookError
from helpers.recipes import check_parameters, load_model, load_target
from helpers.recipes.command import serve_command
from helpers.records.age import Age, age
from helpers.records.curves import options, setting, switch
from helpers.records.record import RunRecord

GROUP_THROUGHPUT = "throughput"  # the sweep of a record, beside the groups of its contracts
OTHER_FLAGS = "with other flags than today's"  # what every page says of a run that the recipe has left behind
WEIGHTLESS = ("server.backends", "server.stopped", "tools.stopped")  # contracts that no reply of the model is read for
ACCURACY_FIRST = ("hub", "path", "synthetic", "nano")  # which weights say most, where several have run


@dataclass(frozen=True)
class Claim:
    """One line of the matrix: what ran, with which weights and which vLLM, and how it ended."""

    target: str
    model: str
    tensor_parallel_size: int
    profile: str
    group: str
    weights: str
    vllm: str
    state: str  # passed, failed or skipped
    checks: str  # "12 of 12", or the number of points
    day: date
    record: str  # the file, relative to the checkout
    same_flags: bool  # whether the recipe still renders the flags that ran
    points: frozenset[tuple[int, int, int]] = frozenset()  # of a sweep: concurrency, input and output tokens
    setting: Hashable = None  # equal for records of one command, weights, stack and kind of GPU
    since: date | None = None  # the oldest day, where sweeps of several days stand together
    replicas: int = 1  # copies of the server that a sweep measured

    def joined(self, older: "Claim") -> "Claim":
        """This claim with the points that an older one of the same command adds."""
        points = self.points | older.points
        if points == self.points:
            return self
        return replace(
            self, points=points, checks=f"{len(points)} points", since=min(older.since or older.day, self.day)
        )

    @property
    def measures(self) -> bool:
        """Whether it is of a sweep, not of contracts."""
        return self.group.startswith(GROUP_THROUGHPUT)

    @property
    def days(self) -> str:
        """When it was measured: a day, or the first and the last one."""
        return days(self.since or self.day, self.day)

    @property
    def age(self) -> Age:
        """How old it is on the day when the index was last asked; of several days the newest counts."""
        return age(self.target, self.vllm, self.day)

    def line(self) -> str:
        """The claim in words."""
        flags = "" if self.same_flags else f", {OTHER_FLAGS}"
        return (
            f"{self.group} {self.state} ({self.checks}) with {self.weights} weights on vLLM {self.vllm} "
            f"({self.age.words()}), {self.days}{flags}"
        )


def days(first: date, last: date) -> str:
    """One day, or the first and the last of several."""
    return last.isoformat() if first == last else f"{first.isoformat()} to {last.isoformat()}"


def load_claims(folder: Path = paths.RECORDS) -> list[Claim]:
    """Every claim of every record under `folder`/<target>/; a record in the wrong folder is refused."""
    claims: list[Claim] = []
    for path in sorted(folder.glob("*/*.json")):
        record = RunRecord.read(path)
        if record.target != path.parent.name:
            raise CookbookError(
                f"{paths.shown(path)} is a record of {record.target}",
                do=f"move it to {paths.shown(folder / record.target)}",
            )
        claims += claims_of(record, paths.shown(path))
    return claims


def claims_of(record: RunRecord, path: str) -> list[Claim]:
    """The claims of one record. A rehearsal ran elsewhere, a variant is no recipe: they claim nothing for the target."""
    served = record.serving
    if record.parameters.get("rehearse") or served.variant:
        return []
    flags = same_flags(record)

    def claim(model: str, weights: str, group: str, state: str, checks: str) -> Claim:
        return Claim(
            target=record.target,
            model=model,
            # Behaviour that was checked on another model than the one measured ran on a server of its own.
            tensor_parallel_size=served.tensor_parallel_size if model == record.model else 1,
            profile=served.profile,
            group=group,
            weights=weights,
            vllm=record.versions.get("vllm", "unknown"),
            state=state,
            checks=checks,
            day=record.finished.date(),
            record=path,
            same_flags=flags,
        )

    groups: dict[tuple[str, str, str], list[str]] = {}
    for contract in record.contracts:
        group = "lifecycle" if contract.name in WEIGHTLESS else contract.group
        groups.setdefault((contract.model, contract.weights, group), []).append(contract.state)
    claims: list[Claim] = []
    for where, states in groups.items():
        state = "failed" if "failed" in states else "passed" if "passed" in states else "skipped"
        claims.append(claim(*where, state, f"{states.count('passed')} of {len(states)}"))
    if record.throughput:
        group = GROUP_THROUGHPUT if served.replicas == 1 else f"{GROUP_THROUGHPUT} of {served.replicas} replicas"
        points = frozenset((p.concurrency, p.input_tokens, p.output_tokens) for p in record.throughput)
        sweep = claim(record.model, record.weights, group, record.state, f"{len(points)} points")
        claims.append(replace(sweep, points=points, setting=setting(record), replicas=served.replicas))
    return claims


def same_flags(record: RunRecord) -> bool:
    """Whether the recipe renders, for the record's parameters, the flags and variables that ran."""
    try:
        target, model = load_target(record.target), load_model(record.model)
        weights = {"weights": "nano"} if record.weights == "nano" else {}
        served = record.serving.model_dump(exclude={"variant"})
        parameters = check_parameters(target, {**served, "model": record.model, **weights})
    except CookbookError:
        return False
    today = serve_command(target, model, parameters, "weights", 0)
    ran = {name: value for name, value in record.env.items() if name in today.env or switch(name)}
    return options(record.argv) == options(today.argv) and ran == today.env
