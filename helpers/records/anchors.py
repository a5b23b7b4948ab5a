"""Published throughput figures to hold ours against, all in one unit: output tok/s per GPU.

`recipes/anchors.csv` has one row per published point. What its columns mean, beyond their names:
`output_tok_s_per_gpu` counts generated tokens only (InferenceMAX also publishes input + output, which is about
twice as much at equal lengths); `tok_s_per_user` is 1 / mean TPOT; `lengths` tells whether every request had
exactly these lengths or drew them from 0.8 to 1.0 of them; an empty concurrency means offline, maximum load.
"""

import csv
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from helpers.errors import CookbookError
from helpers.paths import RECIPES
from helpers.records.record import Positive, first_problem

FILE = RECIPES / "anchors.csv"


class Anchor(BaseModel):
    """One published point."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    hardware: str
    engine: str
    version: str
    input_tokens: int
    output_tokens: int
    lengths: str
    tensor_parallel: int
    concurrency: int | None
    output_tok_s_per_gpu: Positive
    tok_s_per_user: Positive | None
    date: str
    source: str

    @field_validator("concurrency", "tok_s_per_user", mode="before")
    @classmethod
    def empty_is_none(cls, value: str | None) -> str | None:
        return value or None

    @property
    def label(self) -> str:
        """Hardware, engine and parallelism in a few words."""
        engine = f"{self.engine} {self.version}".strip()
        return f"{self.hardware.upper()} {engine} TP{self.tensor_parallel}"


def load_anchors(path: Path = FILE) -> list[Anchor]:
    """Every anchor; `CookbookError` names the line that is wrong."""
    anchors: list[Anchor] = []
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                anchors.append(Anchor.model_validate(row))
            except ValidationError as error:
                raise CookbookError(f"{path.name} line {number} is wrong", first_problem(error)) from None
    return anchors


def matching(anchors: list[Anchor], model: str, hardware: str, input_tokens: int, output_tokens: int) -> list[Anchor]:
    """The anchors of one model on one kind of hardware at one pair of lengths."""
    wanted = (model, hardware, input_tokens, output_tokens)
    return [a for a in anchors if (a.model, a.hardware, a.input_tokens, a.output_tokens) == wanted]
