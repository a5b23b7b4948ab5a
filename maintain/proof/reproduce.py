"""`cookbook reproduce RECORD`: the same run again, and whether it says the same within the noise."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.errors import CookbookError
from helpers.findings import Finding, Findings
from helpers.recipes import load_target
from helpers.records.curves import load_records, setting
from helpers.records.record import Point, RunRecord
from helpers.runs.execute import Outcome, run_target
from maintain.batch.results import ASSUMED

MOVED = ("run_dir", "port", "keep_server", "restart")  # of this machine, not of the run


@dataclass(frozen=True, repr=False)
class Agreement(Findings):
    """What two runs of one command say of each other."""

    target: str = ""

    @property
    def title(self) -> str:
        return f"{self.target} again: " + ("it agrees" if self.passed else "it does not agree")


def parameters(record: RunRecord) -> dict[str, Any]:
    """What the run was asked, and what it was served with: a default may have changed since."""
    if record.serving.variant:
        raise CookbookError(
            "this record is of a variant", why="no recipe renders its command", do="name a record of `cookbook run`"
        )
    served = record.serving.model_dump(exclude={"variant"})
    values = {**record.parameters, "model": record.model, **served, "port": 0}
    if not load_target(record.target).serve.activations:
        del values["activations"]  # its page has no such parameter
    return {name: value for name, value in values.items() if name not in MOVED or name == "port"}


def again(path: Path, run: Callable[..., Outcome] = run_target) -> tuple[Agreement, Outcome]:
    """Run a record's command again and compare. Raises `CookbookError` for a file that is no record of a run."""
    record = RunRecord.read(path)
    if not record.contracts:
        raise CookbookError(
            "this record is of a sweep alone", why="no notebook made it", do="name a record of `cookbook run`"
        )
    outcome = run(record.target, parameters(record))
    if not outcome.passed:
        raise CookbookError(
            "the second run failed", why=outcome.record.why, do=f"open {outcome.folder.name}/notebook.ipynb"
        )
    return agreement(record, outcome.record, load_records(record.target)), outcome


def agreement(first: RunRecord, second: RunRecord, others: list[RunRecord]) -> Agreement:
    """Machine, stack, command and contracts side by side, and each point within the noise of its load.

    A different machine or release makes no disagreement: it is said, and the points tell what it is worth.
    """
    host = lambda r: f"{(r.machine.gpus or [r.machine.cpu])[0]}, {r.machine.cores} cores"  # noqa: E731
    differ = [c.name for c in first.contracts if {x.name: x.state for x in second.contracts}.get(c.name) != c.state]
    findings = [
        Finding("machine", host(first) == host(second), host(second), host(first), required=False),
        Finding(
            "vLLM",
            first.versions["vllm"] == second.versions["vllm"],
            second.versions["vllm"],
            first.versions["vllm"],
            required=False,
        ),
        Finding(
            "command",
            setting(first) == setting(second),
            "as it ran",
            "the record's flags, weights and stack",
            required=False,
        ),
        Finding("contracts", not differ, ", ".join(differ) or f"{len(first.contracts)} as before", "each as before"),
    ]
    now = {key(point): point for point in second.throughput}
    for point in first.throughput:
        findings += compared(point, now.get(key(point)), band(first, point, others))
    return Agreement(findings, first.target)


def key(point: Point) -> tuple[int, int, int]:
    return point.concurrency, point.input_tokens, point.output_tokens


def band(first: RunRecord, point: Point, others: list[RunRecord]) -> tuple[float, str]:
    """How far two runs of one command may lie apart, as a factor, and where that comes from."""
    alike = [r for r in others if setting(r) == setting(first) and r.machine.cpu == first.machine.cpu]
    found = [p.output_tok_s for record in alike for p in record.throughput if key(p) == key(point)]
    if len(found) < 2:
        return ASSUMED, "assumed"
    return max(ASSUMED, max(found) / min(found)), f"{len(found)} runs on record"


def compared(before: Point, after: Point | None, noise: tuple[float, str]) -> list[Finding]:
    """One point against its second measurement."""
    factor, source = noise
    name = f"concurrency {before.concurrency}"
    if after is None:
        return [Finding(name, False, "not measured", f"{before.output_tok_s:,.0f} output tok/s")]
    ratio = after.output_tok_s / before.output_tok_s
    seen = f"{after.output_tok_s:,.0f} output tok/s, {ratio:.2f} of {before.output_tok_s:,.0f}"
    needed = f"within {1 / factor:.2f} to {factor:.2f} ({source})"
    return [Finding(name, 1 / factor <= ratio <= factor, seen, needed, "run it once more on an idle machine")]
