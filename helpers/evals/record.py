"""The record of a run of evaluations, `recipes/records/evals/<target>/*.json`: the only source of a score on a page."""

# ruff: noqa: RUF012 (pydantic copies mutable defaults)

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from helpers.checks.known_answers import ALLOWED
from helpers.evals.result import Result
from helpers.paths import RECORDS
from helpers.records.record import Argv, Document, Environment, Launched, MachineRecord, Model, Utc, Weights

FOLDER = RECORDS / "evals"


class EvalRecord(Document):
    """Results with everything that they depend on."""

    TITLE = "record of evaluations"
    REMEDY = "run the evaluations again"

    schema_: Literal[1] = Field(1, alias="schema")
    target: str
    model: Model
    weights: Weights
    settings: dict
    versions: dict[str, str]
    machine: MachineRecord
    commit: str
    argv: Argv = []  # of the server that the run launched; none where it was there already
    env: Environment = {}
    servers: list[Launched] = []  # with replicas: each of them, the first again, and the router last
    started: Utc
    finished: Utc
    results: list[Result]

    @model_validator(mode="after")
    def coherent(self) -> "EvalRecord":
        if self.finished < self.started:
            raise ValueError("finished lies before started")
        for result in self.results:
            where = f"{result.eval} {result.effort}: "
            if (result.state == "scored") != (result.score is not None):
                raise ValueError(where + f"{result.state} with score {result.score}")
            if result.score is not None and not 0 <= result.score <= 1:
                raise ValueError(where + f"score {result.score} is not in 0-1")
            if result.score is not None and result.samples != result.planned:
                raise ValueError(where + f"a score from {result.samples} of {result.planned} samples")
            if result.score is not None and result.failures > ALLOWED * result.planned:
                raise ValueError(where + f"a score with {result.failures} of {result.planned} samples failed")
            if result.interval and not result.interval[0] <= result.score <= result.interval[1]:
                raise ValueError(where + "the score lies outside its interval")
            if result.samples and result.output_tokens < result.samples - result.failures:
                raise ValueError(where + "fewer output tokens than answers")
        return self

    @property
    def name(self) -> str:
        """The file's name among the records."""
        return f"{self.finished:%Y%m%d-%H%M%S}-{self.model}-{self.weights}.json"


def load_records(folder: Path = FOLDER) -> list[EvalRecord]:
    """Every committed record, the oldest first."""
    return sorted((EvalRecord.read(path) for path in folder.glob("*/*.json")), key=lambda record: record.finished)
