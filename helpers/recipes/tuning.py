"""recipes/tuning.yaml: which flags `cookbook tune` may change on which targets, and to what."""

# ruff: noqa: RUF012 (pydantic copies mutable defaults)

import itertools
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, RootModel, field_validator, model_validator

from helpers import paths
from helpers.errors import UsageError
from helpers.recipes.files import load_file
from helpers.recipes.settings import Block, Setting, Strict, Text

FILE = paths.RECIPES / "tuning.yaml"
ObjectiveName = Literal["throughput", "latency", "throughput-under-tpot"]
Values = dict[str, Any]  # one value for each knob
REFUSED = {  # flags that no search may touch, and why
    **dict.fromkeys(("host", "port", "served-model-name", "api-key"), "it does not change the speed"),
    **dict.fromkeys(
        ("speculative-config", "spec-method", "spec-model"),
        "the load is synthetic text, on which the acceptance of drafts means nothing",
    ),
    "load-format": "without the real weights' routing the speed is another model's",
}
PARAMETERS = ("tensor_parallel_size",)
NAMES = {"flag": r"[a-z][a-z0-9-]*", "variable": r"[A-Z][A-Z0-9_]*", "parameter": r"\w+"}


class Knob(Strict):
    """One thing that is varied: a flag of `vllm serve`, an environment variable, or a parameter of the recipe.

    `null` among the values stands for vLLM's own default.
    """

    kind: Literal["flag", "variable", "parameter"] = "flag"
    values: Annotated[list[bool | int | float | str | list[str] | dict[str, Any] | None], Field(min_length=2)]
    objectives: list[ObjectiveName] = []  # only under these; none named: under all
    risk: Text | None = None  # what it may cost beside speed
    why: Text
    source: Text

    @field_validator("values")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        names = [json.dumps(value) for value in values]
        if len(names) != len(set(names)):
            raise ValueError("a value stands twice")
        return values

    def setting(self, value: Any) -> Setting:
        """The value as a recipe's setting."""
        return Setting(value=value, why=self.why, source=self.source)


class Space(Strict):
    """The knobs of some targets, and what bare `vllm serve` needs there to be comparable at all."""

    targets: Annotated[list[str], Field(min_length=1)]
    models: list[str] = []  # only these; none named: every model of the target
    baseline: Block = Block()
    knobs: Annotated[dict[str, Knob], Field(min_length=1)]
    first: dict[ObjectiveName, list[Values]] = {}  # what a search too large for all combinations begins with

    @model_validator(mode="after")
    def _tunable(self) -> "Space":
        faults = [f"knobs.{name}: not to be tuned: {REFUSED[name]}" for name in self.knobs if name in REFUSED]
        for name, knob in self.knobs.items():
            if knob.kind == "parameter" and name not in PARAMETERS:
                faults.append(f"knobs.{name}: no such parameter; allowed: {', '.join(PARAMETERS)}")
            elif not re.fullmatch(NAMES[knob.kind], name):
                faults.append(f"knobs.{name}: not the name of a {knob.kind}")
        for objective, configurations in self.first.items():
            known = self.under(objective)
            faults += [
                f"first.{objective}: {name} {json.dumps(value)} is not among the knobs' values"
                for values in configurations
                for name, value in values.items()
                if name not in known or value not in known[name].values
            ]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def under(self, objective: ObjectiveName) -> dict[str, Knob]:
        """The knobs that are varied under an objective."""
        return {n: knob for n, knob in self.knobs.items() if not knob.objectives or objective in knob.objectives}


class Spaces(RootModel[dict[str, Space]]):
    """All search spaces by name."""


def load_spaces(file: Path = FILE) -> dict[str, Space]:
    """The search spaces of a file; `RecipeError` names every fault with its key."""
    if not file.is_file():
        raise UsageError(f"there is no file {paths.shown(file)}", do="name a file in the shape of recipes/tuning.yaml")
    return load_file(file, Spaces).root


def load_space(target: str, model: str, file: Path = FILE) -> tuple[str, Space]:
    """The name and the space for a model on a target; `UsageError` when the file has none or two."""
    found = [
        (name, space)
        for name, space in load_spaces(file).items()
        if target in space.targets and (not space.models or model in space.models)
    ]
    if len(found) != 1:
        what = "no search space" if not found else f"{len(found)} search spaces"
        raise UsageError(
            f"{paths.shown(file)} has {what} for {model} on {target}", do="name it under `targets` of exactly one space"
        )
    return found[0]


def product(knobs: dict[str, Knob]) -> list[Values]:
    """Every combination of the knobs' values, the first values first."""
    return [
        dict(zip(knobs, values, strict=True)) for values in itertools.product(*(knob.values for knob in knobs.values()))
    ]
