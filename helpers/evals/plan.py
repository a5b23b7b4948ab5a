"""What a run of evaluations does: which, at which efforts, how often, and with which request settings."""

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from helpers.checks.known_answers import ALLOWED
from helpers.evals.catalogue import Evaluation, find, local_file

Count = Annotated[int, Field(gt=0)]


class Plan(BaseModel):
    """The settings of a run; two runs with equal settings ask the same samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str
    model: str
    weights: str
    evals: Annotated[list[str], Field(min_length=1)]
    efforts: Annotated[list[Literal["low", "medium", "high"]], Field(min_length=1)]
    examples: Count | None = None  # questions; None: all
    repeats: Annotated[int, Field(gt=0, le=64)] | None = None  # None: the evaluation's own number
    sampler: Literal["responses", "chat_completions"] = "responses"
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None  # None: the evaluation's own
    max_tokens: Count | None = None  # None: the evaluation's own number
    concurrency: Count = 128
    timeout_s: Annotated[float, Field(gt=0)] = 7200.0  # of one request; an answer at high effort may take an hour
    data: str = ""  # folder with the data sets; empty: fetched before the run

    @field_validator("evals", "efforts")
    @classmethod
    def _once(cls, values: list[str]) -> list[str]:
        return list(dict.fromkeys(values))

    @field_validator("evals")
    @classmethod
    def _known(cls, values: list[str]) -> list[str]:
        for value in values:
            find(value)
        return values

    @property
    def evaluations(self) -> list[Evaluation]:
        return [find(name) for name in self.evals]

    @property
    def jobs(self) -> list[tuple[Evaluation, str]]:
        """Every evaluation at every effort."""
        return [(evaluation, effort) for evaluation in self.evaluations for effort in self.efforts]

    def repeats_of(self, evaluation: Evaluation) -> int:
        return self.repeats or evaluation.repeats

    def questions_of(self, evaluation: Evaluation) -> int:
        return min(self.examples or evaluation.questions, evaluation.questions)

    def samples_of(self, evaluation: Evaluation) -> int:
        """Requests of one effort."""
        return self.questions_of(evaluation) * self.repeats_of(evaluation)

    def max_tokens_of(self, evaluation: Evaluation) -> int:
        return self.max_tokens or evaluation.max_tokens

    def temperature_of(self, evaluation: Evaluation) -> float:
        return evaluation.temperature if self.temperature is None else self.temperature

    def allowed_failures(self, evaluation: Evaluation) -> int:
        """Failed samples up to which the score stands."""
        return math.floor(ALLOWED * self.samples_of(evaluation))

    def files_of(self, evaluation: Evaluation) -> dict[str, Path]:
        """The data on this machine; only those files that are here."""
        folder = Path(self.data).expanduser() if self.data else None
        found = {name: local_file(evaluation, name, folder) for name in evaluation.files}
        return {name: path for name, path in found.items() if path}
