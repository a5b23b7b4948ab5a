"""Runs a plan against a server: starts the scorer, follows its events, reads what it left, resumes what was cut off."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from helpers.bench.worker import environment
from helpers.errors import CookbookError, UsageError
from helpers.evals.catalogue import Evaluation, digest
from helpers.evals.plan import Plan
from helpers.evals.progress import EvalProgress
from helpers.evals.result import Result, lost, read_samples, result_of
from helpers.files import alone, read_json, write_whole
from helpers.paths import RUNS, shown

MODULE = "helpers.instack.evals.scorer"
AGAIN = "they were on file and are not asked again: begin anew with --fresh and without --run-dir"
References = Mapping[tuple[str, str], float]  # (eval, effort) -> score in 0-1


def settings(plan: Plan, version: str) -> dict:
    """What must be equal for a run to go on where another stopped."""
    data = {evaluation.name: digest(plan.files_of(evaluation)) for evaluation in plan.evaluations}
    kept = plan.model_dump(mode="json", exclude={"concurrency", "timeout_s", "data"})
    return kept | {"vllm": version, "data": data}


def folder_for(
    plan: Plan, version: str, runs: Path = RUNS, fresh: bool = False, report: Callable[[str], None] = lambda line: None
) -> tuple[Path, bool]:
    """The newest unfinished run with the same settings, to go on with, or a new folder; and whether it goes on.

    A run whose score is refused whatever the rest says is left as it is, with a word to `report`.
    """
    wanted = settings(plan, version)
    base = runs / "evals"
    if not fresh:
        for folder in sorted(base.glob("*/"), reverse=True):
            if read_json(folder / "settings.json") != wanted or (folder / "finished").exists():
                continue
            if why := lost_in(folder, plan):
                report(f"{shown(folder)} is not gone on with: {why}")
                break  # what is older was given up before
            return folder, True
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
    return base / f"{stamp}-{plan.target}-{plan.model}", False


def lost_in(folder: Path, plan: Plan) -> str:
    """Why the run in `folder` cannot give every score any more, or ''."""
    for evaluation, effort in plan.jobs:
        if why := lost(read_samples(samples_path(folder, evaluation, effort)), plan, evaluation):
            return f"{evaluation.name} {effort}: {why}"
    return ""


def samples_path(folder: Path, evaluation: Evaluation, effort: str) -> Path:
    """The file of one evaluation at one effort."""
    return folder / f"{evaluation.name}-{effort}" / "samples.jsonl"


def evaluate(
    base_url: str,
    plan: Plan,
    folder: Path,
    interpreter: Path,
    *,
    version: str = "unknown",
    references: References | None = None,
    tolerance: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Result]:
    """Ask every sample that is not on file in `folder` yet and return a result per evaluation and effort.

    `interpreter` is the Python of the evaluations' stack. When the run ends early (a dead server, too many
    failures) the results tell it and carry no score; `finished` is written only when nothing is missing.
    Raises `UsageError` for a folder of another run, `CookbookError` when one is at work in it.
    """
    wanted = settings(plan, version)
    folder.mkdir(parents=True, exist_ok=True)
    if (found := read_json(folder / "settings.json")) not in (None, wanted):
        other = next(key for key in {**found, **wanted} if found.get(key) != wanted.get(key))
        raise UsageError(
            f"{shown(folder)} holds another run", why=f"its {other} differs", do="pass another --run-dir or none"
        )
    busy = CookbookError(
        f"{shown(folder)} is in use", why="another evaluation writes to it", do="wait for it, or pass --fresh"
    )
    with alone(folder / "lock", busy=busy):
        write_whole(folder / "settings.json", json.dumps(wanted, indent=1) + "\n")
        stale = [job for job in plan.jobs if lost(read_samples(samples_path(folder, *job)), plan, job[0])]
        error = _score(base_url, plan, folder, interpreter, progress)
        results = []
        for job in plan.jobs:
            evaluation, effort = job
            reference = (references or {}).get((evaluation.name, effort))
            samples = read_samples(samples_path(folder, evaluation, effort))
            result = result_of(samples, plan, evaluation, effort, reference, tolerance)
            if error and result.state == "incomplete":
                result = result.model_copy(update={"why": f"{error}; {result.why}"})
            if job in stale and result.state == "refused":
                result = result.model_copy(update={"why": f"{result.why}; {AGAIN}"})
            results.append(result)
        write_whole(folder / "results.json", json.dumps([r.model_dump(mode="json") for r in results], indent=1) + "\n")
        if all(result.state == "scored" for result in results):
            write_whole(folder / "finished", "")
    return results


def _score(base_url: str, plan: Plan, folder: Path, interpreter: Path, progress: Callable[[str], None] | None) -> str:
    """Run the scorer to its end; returns why it ended early, or ''."""
    request = folder / "request.json"
    write_whole(request, json.dumps(request_of(base_url, plan, folder), indent=1) + "\n")
    env = environment(os.environ.get("VLLM_API_KEY") or "none")
    shown_so_far, error, began = EvalProgress(plan, progress), "", time.monotonic()
    with open(folder / "scorer.log", "ab") as log:
        scorer = subprocess.Popen(
            [str(interpreter), "-m", MODULE, str(request)], stdout=subprocess.PIPE, stderr=log, env=env, text=True
        )
    try:
        for line in scorer.stdout:
            event = json.loads(line)
            if event["event"] == "error":
                error = f"{event['what']} ({event['why']})"
            shown_so_far.take(event)
        code = scorer.wait()
    finally:
        if scorer.poll() is None:
            scorer.kill()
            scorer.wait()
        shown_so_far.close()
    if code and not error:
        error = f"the scorer ended with exit code {code} after {time.monotonic() - began:.0f} s"
    return error


def request_of(base_url: str, plan: Plan, folder: Path) -> dict:
    """What the scorer is asked for."""
    jobs = [
        {
            "eval": evaluation.name,
            "grader": evaluation.grader,
            "effort": effort,
            "files": {name: str(path) for name, path in plan.files_of(evaluation).items()},
            "questions": evaluation.questions,
            "repeats": plan.repeats_of(evaluation),
            "examples": plan.examples,
            "sampler": plan.sampler,
            "temperature": plan.temperature_of(evaluation),
            "max_tokens": plan.max_tokens_of(evaluation),
            "out": str(samples_path(folder, evaluation, effort)),
            "allowed_failures": plan.allowed_failures(evaluation),
        }
        for evaluation, effort in plan.jobs
    ]
    return {
        "base_url": base_url,
        "model": plan.model,
        "concurrency": plan.concurrency,
        "timeout_s": plan.timeout_s,
        "jobs": jobs,
    }


SUMMARY = (
    *("eval", "effort", "score", "stderr", "samples", "failures", "state", "why", "causes", "interval", "reference"),
    *("verdict", "output_tokens", "seconds", "doubts"),
)


def summary(results: list[Result]) -> list[dict]:
    """What `--json` holds: one object per evaluation and effort; a withheld score is null, with the reason."""
    return [{name: getattr(result, name) for name in SUMMARY} for result in results]


def write_json(path: Path, results: list[Result]) -> None:
    """The results as a file, whole or not at all."""
    try:
        write_whole(path, json.dumps(summary(results), indent=1) + "\n")
    except OSError as error:
        raise CookbookError(f"{path} cannot be written", why=str(error.strerror), do="pass another --json") from None
