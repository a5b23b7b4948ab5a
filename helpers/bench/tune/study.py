"""The study: everything that a tuning measured, in one file that is whole at any moment."""

# ruff: noqa: RUF012 (pydantic copies mutable defaults)

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from helpers import paths
from helpers.bench.tune.objective import Objective
from helpers.recipes.tuning import ObjectiveName
from helpers.records.record import Argv, Document, Environment, MachineRecord, Model, Part, Point, Weights

BARE = "bare"
SHOWN = 200  # characters of a cause in a table


class Trial(Part):
    """One server command that was started once: its whole sweep, or the cause why there is none."""

    name: Annotated[str, Field(min_length=1)]  # `bare`, or the first digits of the command's fingerprint
    values: dict[str, Any] = {}
    argv: Argv
    env: Environment
    gpus: Annotated[int, Field(gt=0)] = 1
    state: Literal["measured", "failed"]
    cause: str = ""
    points: list[Point] = []
    startup_s: dict[str, Annotated[float, Field(ge=0)]] = {}
    backends: dict[str, str] = {}
    memory: dict[str, float] = {}
    started: datetime
    finished: datetime

    @model_validator(mode="after")
    def whole(self) -> "Trial":
        if self.state == "failed" and not self.cause:
            raise ValueError(f"{self.name} failed without a cause")
        if self.state == "measured" and not self.points:
            raise ValueError(f"{self.name} was measured without a point")
        return self


class TunerCall(Part):
    """One call of the tuner: a study may take several, each going on where the one before stopped."""

    started: datetime
    finished: datetime | None = None
    starts: Annotated[int, Field(ge=0)] = 0  # servers started
    ended: str = "it was interrupted"


class Study(Document):
    """`study.json` of a tuning, and under recipes/records/<target>/tuning/ the evidence of a profile."""

    TITLE = "study of a tuning"
    REMEDY = "move it away and tune again"
    SCHEMA = 2  # 1 called `users_per_gpu` concurrency

    schema_: Literal[2] = Field(2, alias="schema")
    target: str
    model: Model
    weights: Weights
    tensor_parallel_size: Annotated[int, Field(gt=0)]
    objective: ObjectiveName
    tpot_ms: float | None = None
    space: str
    knobs: dict[str, list[Any]]
    users_per_gpu: list[int]  # requests in flight per GPU, one point each; for latency, per server
    input_tokens: int
    output_tokens: int
    machine: MachineRecord
    versions: dict[str, str]
    commit: str
    fingerprint: str  # of all the above but the commit: only an equal study goes on
    calls: list[TunerCall] = []
    baseline: Trial | None = None
    trials: list[Trial] = []
    chosen: str | None = None
    notes: list[str] = []  # what a reader has to know about how it was taken

    @model_validator(mode="after")
    def coherent(self) -> "Study":
        names = [trial.name for trial in self.trials]
        if len(names) != len(set(names)):
            raise ValueError("a trial stands twice")
        if self.chosen is not None and self.chosen not in names:
            raise ValueError(f"the chosen trial {self.chosen} is not among the trials")
        sizes = len(self.users_per_gpu)
        for trial in filter(None, [self.baseline, *self.trials]):
            if trial.state == "measured" and len(trial.points) != sizes:
                raise ValueError(f"{trial.name} has {len(trial.points)} of {sizes} points")
        if self.baseline is not None and self.baseline.state == "failed":
            raise ValueError("a study whose baseline failed compares nothing")
        return self

    @property
    def goal(self) -> Objective:
        return Objective(self.objective, self.tpot_ms)

    def trial(self, name: str) -> Trial | None:
        """The trial of that name; the baseline is none of them."""
        return next((trial for trial in self.trials if trial.name == name), None)


def studies(target: str, model: str = "", objective: str = "") -> list[Study]:
    """The committed studies of a target, oldest first; only of a model and an objective where those are named."""
    found = [Study.read(file) for file in sorted((paths.RECORDS / target / "tuning").glob("*.json"))]
    return [s for s in found if model in ("", s.model) and objective in ("", s.objective)]


def compared(target: str, model: str, objective: str = "") -> list[Study]:
    """The studies that have bare `vllm serve` to compare with, oldest first."""
    return [study for study in studies(target, model, objective) if study.baseline]


def one_line(cause: str) -> str:
    """A cause on one line, cut where it is long; the study has it whole."""
    line = " ".join(cause.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
