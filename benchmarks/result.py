"""The record of one benchmark and the table over all of them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from helpers.files import write_whole
from helpers.paths import ROOT
from helpers.records.record import MachineRecord
from maintain.pages.readme import spelt

RECORDS = ROOT / "benchmarks" / "records"
TABLE = ROOT / "docs" / "benchmarks.md"
HEAD = """# What the cookbook's own machinery costs, and how far its measurements can be trusted

Written by `make bench` (`python -m benchmarks.run`) from the records in `benchmarks/records/`; do not edit. Every
value comes from one run on one machine, ratios have both sides measured in that run.

"""


class Value(BaseModel):
    """One figure with its bar: `value` must be at most `bar` (where there is one)."""

    model_config = ConfigDict(extra="forbid")

    name: str
    value: float
    unit: str
    bar: float | None = None
    detail: str = ""

    @property
    def reached(self) -> bool | None:
        return None if self.bar is None else self.value <= self.bar

    @property
    def shown(self) -> str:
        """The figure as the table has it. No run takes 0 s or 0 GiB: a hunt that was cut off had not written these yet."""
        unwritten = self.bar is None and self.value == 0 and self.unit in ("s", "GiB")
        return "unknown: the run was cut off" if unwritten else spelt(self.value, self.unit)


class Result(BaseModel):
    """What one benchmark found."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    benchmark: str
    question: str
    values: list[Value]
    machine: MachineRecord
    versions: dict[str, str]
    commit: str
    finished: datetime

    def write(self, folder: Path = RECORDS) -> Path:
        """Write the benchmark's one file; returns its path."""
        content = json.dumps(self.model_dump(mode="json"), indent=1) + "\n"
        return write_whole(folder / f"{self.benchmark}.json", content)


def result_of(benchmark: str, question: str, values: list[Value], versions: dict[str, str]) -> Result:
    """A result with the machine, the commit and the time filled in."""
    from helpers.machine import facts

    return Result(
        benchmark=benchmark,
        question=question,
        values=values,
        machine=facts.machine(),
        versions=versions,
        commit=facts.commit(),
        finished=datetime.now(UTC).replace(microsecond=0),
    )


def read_all(folder: Path = RECORDS) -> list[Result]:
    """The newest record of every benchmark of this suite."""
    return [Result.model_validate_json(path.read_text()) for path in sorted(folder.glob("*.json"))]


NAMES = (
    "notebook_cost",
    "fidelity",
    "sweep_cost",
    "startup_cost",
    "start_phases",
    "tools_latency",
    "seeded_prompts",
    "recovery",
)


def table(results: list[Result]) -> str:
    """The page of `docs/benchmarks.md`."""
    lines = []
    for result in results:
        versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
        lines += [
            f"## {result.question}",
            "",
            f"{result.finished:%Y-%m-%d}, {result.machine.cpu}, {result.machine.cores} cores; {versions}",
            "",
            "| what | value | bar | reached |",
            "| --- | ---: | ---: | --- |",
        ]
        for value in result.values:
            bar = "" if value.bar is None else f"≤ {value.bar:g} {value.unit}"
            reached = {None: "", True: "yes", False: "**no**"}[value.reached]
            name = f"{value.name} ({value.detail})" if value.detail else value.name
            lines.append(f"| {name} | {value.shown} | {bar} | {reached} |")
        lines.append("")
    taken = {path.stem for path in RECORDS.glob("*.json")}
    lines += [f"`{name}` has no record yet.\n" for name in NAMES if name not in taken]
    return HEAD + "\n".join(lines)
