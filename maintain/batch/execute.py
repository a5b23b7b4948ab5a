"""Running a plan: what has passed is kept, what failed or was cut off is run again, the summary is always on disk."""

import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helpers.errors import CookbookError, UsageError
from helpers.files import alone, write_whole
from helpers.paths import shown
from helpers.records.record import RunRecord
from helpers.runs.execute import Outcome
from maintain.batch.plan import PlannedRun
from maintain.batch.slots import Slot, Slots, at_work

NEVER = "never run"
Runner = Callable[[PlannedRun, dict[str, Any], Slot], Outcome]  # a run, its parameters with `run_dir`, its devices


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


class Batch:
    """The runs of one plan in one folder: their results so far, and the summaries of them on disk."""

    def __init__(self, runs: Sequence[PlannedRun], folder: Path, slots: Slots):
        self.runs, self.folder, self.slots = list(runs), folder, slots
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the batch's folder {shown(folder)} cannot be made",
                why=error.strerror or "",
                do="name another `folder` in the plan",
            ) from None
        _same_plan(self.runs, folder)
        self.results = [BatchResult(run.name, run.target) for run in self.runs]
        self.lock, self.ended, self.own = threading.Lock(), threading.Event(), set[int]()
        for run, result in zip(self.runs, self.results, strict=True):
            before = _record(folder / run.name)
            if run.skip:
                result.state, result.why = "skipped", run.skip
            elif before:
                _fill_in(result, before)
                result.earlier = before.state == "passed"
        self.write()

    def write(self) -> None:
        """summary.json and summary.md, each whole at any moment; what other tasks of a cluster have done stands in them too."""
        with self.lock:
            for number, (run, result) in enumerate(zip(self.runs, self.results, strict=True)):
                if number not in self.own and not run.skip and (done := _record(self.folder / run.name)):
                    _fill_in(result, done)
            write_whole(
                self.folder / "summary.json", json.dumps([asdict(one) for one in self.results], indent=1) + "\n"
            )
            write_whole(self.folder / "summary.md", "\n".join(table(self.results)) + "\n")

    def run(self, chosen: Sequence[int], runner: Runner, report: Callable[[str], None]) -> None:
        """The runs with these numbers (from 0) that have not passed, side by side as far as the slots allow."""
        self.own |= set(chosen)
        for number in chosen:
            if not (self.results[number].earlier or self.runs[number].skip):
                self.results[number] = BatchResult(self.runs[number].name, self.runs[number].target)
        with ThreadPoolExecutor(self.slots.workers) as pool:
            tasks = [pool.submit(self._one, number, runner, report) for number in chosen]
            try:
                for task in tasks:
                    task.result()
            except BaseException:
                self.ended.set()  # what has not begun stays "never run"
                raise

    def _one(self, number: int, runner: Runner, report: Callable[[str], None]) -> None:
        run, result = self.runs[number], self.results[number]
        said = lambda text: report(f"[{number + 1}/{len(self.runs)}] {run.name}{text}")  # noqa: E731
        if run.skip or result.earlier:
            said(f": skipped, {run.skip}" if run.skip else ": passed earlier")
            return
        try:
            with self.slots.slot(run) as slot:
                if self.ended.is_set():
                    return
                place = self.folder / run.name
                with alone(at_work(place)):  # what a batch that was killed began may still be ending
                    if place.exists():
                        _set_aside(place)
                said(f" ... on {slot.name}")
                outcome = runner(run, {**run.given, "run_dir": str(place)}, slot)
        except CookbookError as error:
            result.state, result.why = "failed", error.line()
        except BaseException:
            self.ended.set()
            raise
        else:
            _fill_in(result, outcome.record)
            result.why = outcome.error or result.why
        self.write()
        said(f": {result.state}{', ' + result.why if result.why else ''}")


def run_batch(
    runs: Sequence[PlannedRun],
    folder: Path,
    runner: Runner,
    report: Callable[[str], None] = print,
    slots: Slots | None = None,
    only: Sequence[int] | None = None,
) -> list[BatchResult]:
    """Run what has not passed yet, `only` those numbers (from 0) if given; one after another unless `slots` has more room.

    A failed run does not stop the batch. An interruption leaves the rest "never run", and the same call
    goes on there. A folder that already holds another plan's runs is refused.
    """
    batch = Batch(runs, folder, slots or Slots([], [0], 1))
    try:
        batch.run(range(len(batch.runs)) if only is None else only, runner, report)
    finally:
        from maintain.batch.results import write_results  # pandas: 0.4 s that no other command should wait for

        write_results(folder, [run.name for run in batch.runs])
    return batch.results


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
