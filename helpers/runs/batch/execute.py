"""Running a plan: what has passed is kept, what failed or was cut off is run again, the summary is always on disk."""

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helpers.errors import CookbookError, UsageError
from helpers.files import write_whole
from helpers.paths import shown
from helpers.records.record import RunRecord
from helpers.runs.batch.plan import PlannedRun

NEVER = "never run"
Runner = Callable[[str, dict[str, Any]], Any]  # target, parameters -> helpers.runs.execute.Outcome


@dataclass
class BatchResult:
    """One line of the summary."""

    name: str
    target: str
    model: str = ""
    state: str = NEVER  # passed, failed, skipped or never run
    why: str = ""
    seconds: float = 0.0
    output_tok_s: float | None = None  # of the best point
    earlier: bool = False  # passed in an earlier call of the same batch


def run_batch(runs: Iterable[PlannedRun], folder: Path, runner: Runner, report=print) -> list[BatchResult]:
    """Run what has not passed yet, one after another; the summary is written after each.

    A failed run does not stop the batch. An interruption leaves the rest "never run", and the same call
    goes on there. A folder that already holds another plan's runs is refused.
    """
    runs = list(runs)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the batch's folder {shown(folder)} cannot be made",
            why=error.strerror or "",
            do="name another `folder` in the plan",
        ) from None
    _same_plan(runs, folder)
    results = [BatchResult(run.name, run.target) for run in runs]
    try:
        for number, (run, result) in enumerate(zip(runs, results, strict=True), 1):
            _run_planned(run, result, folder, runner, lambda text, n=number: report(f"[{n}/{len(runs)}] {text}"))
            write_summary(results, folder)
    finally:
        write_summary(results, folder)
    return results


def _run_planned(run: PlannedRun, result: BatchResult, folder: Path, runner: Runner, report) -> None:
    if run.skip:
        result.state, result.why = "skipped", run.skip
        report(f"{run.name}: skipped, {run.skip}")
        return
    place = folder / run.name
    before = _record(place)
    if before and before.state == "passed":
        _fill_in(result, before)
        result.earlier = True
        report(f"{run.name}: passed earlier")
        return
    if place.exists():
        _set_aside(place)
    report(f"{run.name} ...")
    began = time.monotonic()
    try:
        outcome = runner(run.target, {**run.given, "run_dir": str(place)})
    except CookbookError as error:
        result.state, result.why = "failed", error.line()
    else:
        _fill_in(result, outcome.record)
        result.why = outcome.error or result.why
    result.seconds = round(time.monotonic() - began, 1)
    report(f"{run.name}: {result.state}{', ' + result.why if result.why else ''}")


def _fill_in(result: BatchResult, record: RunRecord) -> None:
    result.model, result.state, result.why = record.model, record.state, record.why
    result.seconds = round((record.finished - record.started).total_seconds(), 1)
    result.output_tok_s = max((point.output_tok_s for point in record.throughput), default=None)


def _record(place: Path) -> RunRecord | None:
    try:
        return RunRecord.read(place / "record.json")
    except CookbookError:
        return None


def _set_aside(place: Path) -> None:
    """Keep what an earlier attempt left, under a name of its own."""
    number = 1
    while (aside := place.with_name(f"{place.name}.attempt-{number}")).exists():
        number += 1
    os.replace(place, aside)


def _same_plan(runs: list[PlannedRun], folder: Path) -> None:
    """Refuse to mix two plans in one folder: the runs are known by name and parameters."""
    path, today = folder / "plan.json", [asdict(run) for run in runs]
    if path.exists() and _plan(path) != today:
        raise UsageError(
            f"{folder} holds the runs of another plan (or of this one before it was changed)",
            do="name another `folder` in the plan, or move that one away",
        )
    write_whole(path, json.dumps(today, indent=1) + "\n")


def _plan(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise UsageError(
            f"{path} cannot be read", why="it is no whole JSON file", do="remove it and run the batch again"
        ) from None


def table(results: list[BatchResult]) -> list[str]:
    """The summary as Markdown lines."""
    lines = ["| run | model | state | seconds | output tok/s | why |", "|---|---|---|---:|---:|---|"]
    for one in results:
        best = f"{one.output_tok_s:,.0f}" if one.output_tok_s else ""
        state = f"{one.state} (earlier)" if one.earlier else one.state
        why = one.why.replace("|", "\\|")
        lines.append(f"| {one.name} | {one.model} | {state} | {one.seconds:,.0f} | {best} | {why} |")
    return lines


def write_summary(results: list[BatchResult], folder: Path) -> None:
    """summary.json and summary.md of the batch, whole at any moment."""
    write_whole(folder / "summary.json", json.dumps([asdict(one) for one in results], indent=1) + "\n")
    write_whole(folder / "summary.md", "\n".join(table(results)) + "\n")
