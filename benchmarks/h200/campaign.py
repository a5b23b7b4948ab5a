"""One campaign on a bare GPU host: checkpoints, servers, sweeps and routing, detached and resumable.

    PYTHON -m benchmarks.h200.campaign --plan two --out DIR     # start or go on
    PYTHON -m benchmarks.h200.campaign --status --out DIR [--pack FILE.tgz]

Every step writes its own folder: `bench/*.json` point by point, `server.log`, `record.json` once its sweep has
begun. A step whose record says `passed` is not run again, a sweep goes on after the points it has. Steps that
cannot start before their `latest_s` are skipped and say so in `events.log`.
"""

import argparse
import json
import os
import sys
import tarfile
import threading
import time
import traceback
from pathlib import Path

from benchmarks.h200.measure import measure
from benchmarks.h200.plan import PLANS, Answers, Job, Plan, Routing, Step, Steps, Tuning, visible
from benchmarks.h200.probes import answer, profile, route, tune
from helpers.paths import CACHE
from helpers.recipes import load_model, load_target
from helpers.runs import facts
from helpers.runs.serving import nano_form
from helpers.runs.weights import build_nano, write_synthetic
from helpers.server import Server, launch

# How each kind of step is carried out: a function of the campaign, the step and its folder.
WAYS = {Job: measure, Tuning: tune, Steps: profile, Routing: route, Answers: answer}


class Campaign:
    """The state of one campaign: its clock, its log, the checkpoints written so far."""

    def __init__(self, out: Path, interpreter: Path, target: str):
        self.out, self.interpreter, self.target = out, interpreter, load_target(target)
        self.began = time.monotonic()
        # Looked up once: finding them while a point is measured would take CPU from the load client.
        self.facts = {
            "machine": facts.machine(),
            "versions": facts.versions(interpreter),
            "commit": facts.commit(),
        }
        self.writing = {}  # model: lock, so that two steps never write one checkpoint
        self.guard = threading.Lock()
        out.mkdir(parents=True, exist_ok=True)

    def clock(self) -> float:
        """Seconds since the campaign began."""
        return time.monotonic() - self.began

    def say(self, step: str, text: str) -> None:
        """One line in `events.log` and on stdout."""
        line = f"{self.clock():7.1f} s  {step:14} {text}"
        with self.guard, (self.out / "events.log").open("a") as log:
            log.write(line + "\n")
        print(line, flush=True)

    def checkpoint(self, step: Step) -> Path:
        """The folder to serve, written (on the step's first GPU) unless it is there."""
        with self.guard:
            lock = self.writing.setdefault(step.model, threading.Lock())
        with lock:
            if step.model == "gpt-oss-nano":
                return build_nano(self.interpreter, CACHE / "models", nano_form(self.target))
            began, env = self.clock(), visible(step.gpus[:1])
            folder = write_synthetic(load_model(step.model), self.interpreter, CACHE / "models", env)
            self.say(step.name, f"checkpoint of {step.model} in {self.clock() - began:.1f} s")
            return folder

    def argv(self, serve: list[str]) -> list[str]:
        """A `vllm serve` command with this campaign's Python."""
        return [str(self.interpreter), "-m", "vllm.entrypoints.cli.main", *serve[1:]]

    def launch(self, step: Step, serve: list[str], env: dict[str, str], port: int, log: Path) -> Server:
        """The server of a `vllm serve` command."""
        return launch(self.argv(serve), env, port=port, log=log, **self.about(step))

    def about(self, step: Step) -> dict:
        """What a launch is told of the campaign: the names for its lease, and where it says how far it is."""
        report = lambda phase, seconds, line: self.say(step.name, f"{phase} {seconds:.0f} s")  # noqa: E731
        return {"target": self.target.target, "model": step.model, "report": report}

    def run(self, step: Step) -> None:
        """Carry out one step; whatever goes wrong is logged and does not stop the others."""
        folder = self.out / step.name
        done = folder / step.done
        whole = lambda: json.loads(done.read_text()).get("state", "passed") == "passed"  # noqa: E731
        if done.exists() and not isinstance(step, Tuning) and whole():  # a tuning knows itself what is left
            return self.say(step.name, "done before")
        if self.clock() > step.latest_s:
            return self.say(step.name, f"skipped: after second {step.latest_s:.0f}")
        self.say(step.name, "begins")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            WAYS[type(step)](self, step, folder)
            self.say(step.name, "passed")
        except Exception as error:
            with (self.out / "errors.log").open("a") as log:
                log.write(f"--- {step.name}\n{traceback.format_exc()}\n")
            self.say(step.name, f"FAILED: {' '.join(str(error).split())[:400]}")


def run_campaign(campaign: Campaign, stages: Plan) -> None:
    """Stages in their order, the lanes of a stage side by side."""

    def take(steps: list[Step]) -> None:
        for step in steps:
            campaign.run(step)

    campaign.say("campaign", "begins, its clock at 0")
    for lanes in stages:
        threads = [threading.Thread(target=take, args=(steps,)) for steps in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    campaign.say("campaign", "ended")


def pack(out: Path, archive: Path) -> None:
    """Everything of a campaign in one compressed file."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(out, arcname=out.name)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plan", choices=PLANS, default="two")
    parser.add_argument("--target", default="h200")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--interpreter", type=Path, default=Path(sys.executable), help="the Python that holds vLLM"
    )
    parser.add_argument("--only", nargs="*", help="names of the steps to take")
    parser.add_argument("--status", action="store_true", help="print the event log instead")
    parser.add_argument("--pack", type=Path, help="with --status: write the results to this .tgz")
    options = parser.parse_args()
    if options.status:
        log = options.out / "events.log"
        print(log.read_text() if log.exists() else "not started")
        if options.pack:
            pack(options.out, options.pack)
        return
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    stages = PLANS[options.plan]()
    if options.only:
        stages = [
            [[step for step in lane if step.name in options.only] for lane in lanes] for lanes in stages
        ]
    run_campaign(Campaign(options.out.resolve(), options.interpreter.absolute(), options.target), stages)


if __name__ == "__main__":
    main()
