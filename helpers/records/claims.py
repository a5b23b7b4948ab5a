"""Claims: target x model x tensor-parallel size x profile x contract group, each drawn from one run record."""

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from helpers import paths
from helpers.errors import CookbookError
from helpers.recipes import check_parameters, load_model, load_target
from helpers.recipes.command import serve_command
from helpers.records.curves import setting
from helpers.records.record import RunRecord

GROUP_THROUGHPUT = "throughput"  # the sweep of a record, beside the groups of its contracts
OTHER_FLAGS = "with other flags than today's"  # what every page says of a run that the recipe has left behind
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
    setting: tuple = ()  # equal for records of one command, weights, stack and kind of GPU
    since: date | None = None  # the oldest day, where sweeps of several days stand together

    def joined(self, older: "Claim") -> "Claim":
        """This claim with the points that an older one of the same command adds."""
        points = self.points | older.points
        if points == self.points:
            return self
        return replace(
            self, points=points, checks=f"{len(points)} points", since=min(older.since or older.day, self.day)
        )

    @property
    def days(self) -> str:
        """When it was measured: a day, or the first and the last one."""
        first = self.since or self.day
        return self.day.isoformat() if first == self.day else f"{first.isoformat()} to {self.day.isoformat()}"

    def line(self) -> str:
        """The claim in words."""
        flags = "" if self.same_flags else f", {OTHER_FLAGS}"
        return (
            f"{self.group} {self.state} ({self.checks}) with {self.weights} weights on vLLM {self.vllm}, "
            f"{self.days}{flags}"
        )


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
    if record.parameters.get("rehearse") or record.parameters.get("variant"):
        return []
    own_size = int(record.parameters.get("tensor_parallel_size", 1))
    profile = str(record.parameters.get("profile", ""))
    common = {
        "target": record.target,
        "profile": profile,
        "vllm": record.versions.get("vllm", "unknown"),
        "day": record.finished.date(),
        "record": path,
        "same_flags": same_flags(record),
    }
    groups: dict[tuple[str, str, str], list[str]] = {}
    for contract in record.contracts:
        groups.setdefault((contract.group, contract.model, contract.weights), []).append(contract.state)
    claims = []
    for (group, model, weights), states in groups.items():
        state = "failed" if "failed" in states else "passed" if "passed" in states else "skipped"
        checks = f"{states.count('passed')} of {len(states)}"
        # Behaviour that was checked on another model than the one measured ran on a server of its own.
        size = own_size if model == record.model else 1
        what = {"model": model, "weights": weights, "group": group, "state": state, "checks": checks}
        claims.append(Claim(tensor_parallel_size=size, **what, **common))
    if record.throughput:
        group = GROUP_THROUGHPUT if record.replicas == 1 else f"{GROUP_THROUGHPUT} of {record.replicas} replicas"
        points = frozenset((p.concurrency, p.input_tokens, p.output_tokens) for p in record.throughput)
        what = {
            "model": record.model,
            "weights": record.weights,
            "group": group,
            "state": record.state,
            "checks": f"{len(points)} points",
            "points": points,
            "setting": setting(record),
        }
        claims.append(Claim(tensor_parallel_size=own_size, **what, **common))
    return claims


def same_flags(record: RunRecord) -> bool:
    """Whether the recipe renders, for the record's parameters, the flags and variables that ran."""
    known = {"model", "tensor_parallel_size", "replicas", "profile", "activations"}
    values = {name: value for name, value in record.parameters.items() if name in known}
    try:
        target, model = load_target(record.target), load_model(record.model)
        weights = {"weights": "nano"} if record.weights == "nano" else {}
        parameters = check_parameters(target, {**values, "model": record.model, **weights})
    except CookbookError:
        return False
    today = serve_command(target, model, parameters, "weights", 0)
    ran = {name: value for name, value in record.env.items() if name in today.env or name.startswith("VLLM_")}
    ran.pop("VLLM_API_KEY", None)
    return _flags(record.argv) == _flags(today.argv) and ran == today.env


def _flags(argv: list[str]) -> set[tuple[str, ...]]:
    """The options of a command with their values, without the port and what stands before the options."""
    groups: list[list[str]] = []
    for word in argv:
        if word.startswith("--"):
            groups.append([word])
        elif groups:
            groups[-1].append(word)
    return {tuple(group) for group in groups if group[0] != "--port"}
