"""One run of a batch in a process of its own, with the devices that it was given: `python -m maintain.batch.one`.

Its request comes as JSON on standard input. How it ended is in the run's folder: its record, as for every run. What could not
even begin says so on the last line of its log.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from helpers.errors import CookbookError
from helpers.files import alone
from helpers.paths import ROOT
from helpers.processes import ending_with_parent
from helpers.records.record import RunRecord
from helpers.runs.execute import Outcome, run_target, settled
from helpers.runs.run import Run
from maintain.batch.slots import Slot, at_work


def process(target: str, given: dict[str, Any], slot: Slot, sweep: bool) -> Outcome:
    """Run it in a process that sees the slot only, and that ends when this one does. Raises what it could not even begin."""
    folder = Path(given["run_dir"])
    log = folder.with_name(f"{folder.name}.log")
    end, place = ending_with_parent(signal.SIGTERM), slot.cores

    def prepare() -> None:
        end()
        if place:
            os.sched_setaffinity(0, place)

    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "maintain.batch.one"],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | slot.env,
            cwd=ROOT,
            preexec_fn=prepare,
            start_new_session=True,  # Ctrl-C reaches this process, which ends the run in order
        )
        try:
            child.communicate(json.dumps({"target": target, "given": given, "sweep": sweep}).encode())
        except BaseException:
            child.terminate()
            child.wait(60)
            raise
    if not (folder / "record.json").exists():
        said = log.read_text(errors="replace").strip().splitlines()
        raise CookbookError(said[-1] if said else f"the run ended with exit code {child.returncode}")
    record = RunRecord.read(folder / "record.json")
    return Outcome(folder, record, record.why)


def measure(target: str, given: dict[str, Any]) -> Outcome:
    """Install, preflight, weights, launch, sweep, stop: what a record's throughput needs, without the notebook around it."""
    run, error = Run(target, given), ""
    steps: tuple[Callable[[], Any], ...] = (run.install, run.preflight, run.weights, run.launch, run.sweep, run.finish)
    try:
        for step in steps:
            step()
    except CookbookError as failure:
        error = failure.line()
    finally:
        if run.server:
            run.stop()
    return Outcome(run.folder, settled(run.folder, error), error)


def main() -> int:
    """Do what the request says; 0 for a run that passed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # papermill ends its kernel, a run its server
    request = json.load(sys.stdin)
    run = measure if request["sweep"] else partial(run_target, progress=False)
    try:
        with alone(at_work(Path(request["given"]["run_dir"]))):
            return 0 if run(request["target"], request["given"]).passed else 1
    except CookbookError as error:  # before there was a record
        print(error.line(), flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
