"""One campaign on a bare GPU host: checkpoints, servers, sweeps and routing, detached and resumable.

    PYTHON -m benchmarks.campaign.driver --plan two --target h100 --out DIR --minutes 20     # start or go on
    PYTHON -m benchmarks.campaign.driver --plan two --target h100 --slots 2 --minutes 26 --timetable
    PYTHON -m benchmarks.campaign.driver --status --out DIR [--pack FILE.tgz]

Steps are taken in the plan's order, each as soon as as many GPUs are free as it needs, on GPUs and a port of its own. None
overtakes another.
Every step writes its own folder: `bench/*.json` point by point, `server.log`, `record.json` once its sweep has
begun. A step whose record says `passed` is not run again, a sweep goes on after the points it has. At the end of
the given minutes whatever still runs is stopped and keeps what it has. `events.log` says what was run and cut off.
"""

import argparse
import dataclasses
import json
import os
import sys
import tarfile
import threading
import time
import traceback
from pathlib import Path

from benchmarks.campaign.measure import measure
from benchmarks.campaign.plan import (
    Answers,
    Copies,
    Hunt,
    Job,
    Notebook,
    Plan,
    Recurring,
    Routing,
    Step,
    Steps,
    ToolLoad,
    Tools,
    Tuning,
)
from benchmarks.campaign.plans import PLANS, rehearsed, timetable
from benchmarks.campaign.probes import answer, hunt, notebook, profile, route, tune
from benchmarks.campaign.scale import copies, recurring
from benchmarks.campaign.tool_probes import tool_load, tools
from helpers.errors import CookbookError, UsageError
from helpers.machine import facts
from helpers.paths import CACHE, RUNS
from helpers.processes import port_free
from helpers.recipes import Target, load_model, load_target
from helpers.recipes.command.replicas import VISIBLE
from helpers.recipes.command.serve import Command
from helpers.server.launch import READY_TIMEOUT
from helpers.server.replicas import VLLM, Replicas, launch_vllm
from helpers.server.serving import nano_form
from helpers.server.weights import build_nano, write_draft, write_synthetic
from helpers.tools.sandbox import choose

# How each kind of step is carried out: a function of the campaign, the step and its folder.
WAYS = {
    Job: measure,
    Notebook: notebook,
    Tuning: tune,
    Steps: profile,
    Routing: route,
    Answers: answer,
    Hunt: hunt,
    Tools: tools,
    ToolLoad: tool_load,
    Copies: copies,
    Recurring: recurring,
}
FIRST_PORT = 20_000  # below the numbers that the system hands out, so that no two steps are given one
PORTS = 50  # of each slot


class Campaign:
    """The state of one campaign: its clock, its log, its GPUs, the checkpoints written so far."""

    def __init__(self, out: Path, interpreter: Path, target: str, slots: int = 1, minutes: float = float("inf")):
        self.out, self.interpreter, self.target = out, interpreter, load_target(target)
        self.began, self.limit_s = time.monotonic(), minutes * 60
        # Looked up once: finding them while a point is measured would take CPU from the load client.
        self.facts = {"machine": facts.machine(), "versions": facts.versions(interpreter), "commit": facts.commit()}
        self.slots, self.free = slots, set(range(slots))
        self.changed = threading.Condition()
        self.writing = {}  # model: lock, so that two steps never write one checkpoint
        self.guard, self.guard_distances = threading.Lock(), threading.Lock()
        out.mkdir(parents=True, exist_ok=True)

    def clock(self) -> float:
        """Seconds since the campaign began."""
        return time.monotonic() - self.began

    def left_s(self) -> float:
        """Seconds until everything must have ended; raises `CookbookError` when there are none."""
        left = self.limit_s - self.clock()
        if left <= 0:
            raise CookbookError("cut off", f"the campaign's {self.limit_s / 60:.0f} minutes are over")
        return left

    def say(self, step: str, text: str) -> None:
        """One line in `events.log` and on stdout."""
        text = text.replace(f"{self.out}/", "")  # the log is evidence: it names no folder of a machine
        line = f"{self.clock():7.1f} s  {step:22} {text}"
        with self.guard, (self.out / "events.log").open("a") as log:
            log.write(line + "\n")
        print(line, flush=True)

    def visible(self, gpus: tuple[int, ...]) -> dict[str, str]:
        """The variable that shows a process these GPUs only; on a CPU one that keeps equal servers of two slots apart."""
        name = "CAMPAIGN_SLOTS" if self.on_cpu else VISIBLE[self.target.match.vendor]
        return {name: ",".join(map(str, gpus))}

    def cores(self, gpus: tuple[int, ...]) -> set[int]:
        """The share of the host's cores that goes with these GPUs: steps side by side take no time from one another."""
        every = sorted(os.sched_getaffinity(0))
        each = len(every) // self.slots
        if self.on_cpu or not each:
            return set(every)
        return {core for gpu in gpus for core in every[gpu * each : (gpu + 1) * each]}

    @property
    def on_cpu(self) -> bool:
        return self.target.match.vendor == "cpu"

    def port(self, step: Step) -> int:
        """A free port among those of the step's first slot."""
        first = FIRST_PORT + PORTS * step.gpus[0]
        return next(port for port in range(first, first + PORTS) if port_free(port))

    def checkpoint(self, step: Step) -> Path:
        """The folder to serve, written (on the step's first GPU) unless it is there."""
        if step.model == "gpt-oss-nano":
            made = lambda: build_nano(self.interpreter, CACHE / "models", nano_form(self.target))  # noqa: E731
        else:
            model, env = load_model(step.model), self.visible(step.gpus[:1])
            made = lambda: write_synthetic(model, self.interpreter, CACHE / "models", env)  # noqa: E731
        return self._written(step, step.model, made)

    def draft(self, step: Step) -> Path:
        """The folder of a draft head for the step's model."""
        model, env = load_model(step.model), self.visible(step.gpus[:1])
        beside = self.checkpoint(step)
        made = lambda: write_draft(model, self.interpreter, beside, env)  # noqa: E731
        return self._written(step, f"{step.model} draft", made)

    def _written(self, step: Step, name: str, make) -> Path:
        with self.guard:
            lock = self.writing.setdefault(name, threading.Lock())
        with lock:
            began = self.clock()
            folder = make()
        self.say(step.name, f"{name} is at hand after {self.clock() - began:.1f} s")
        return folder

    def launch(self, step: Step, commands: list[Command], port: int, log: Path) -> VLLM | Replicas:
        """vLLM by these commands (several: replicas); stopped if it is not ready when the campaign's time is over."""
        return launch_vllm(
            commands,
            self.interpreter,
            port=port,
            log=log,
            target=self.target.target,
            report=lambda phase, seconds, line: self.say(step.name, f"{phase} {seconds:.0f} s"),
            timeout=min(READY_TIMEOUT, self.left_s()),
        )

    def run(self, step: Step) -> None:
        """Carry out one step; whatever goes wrong is logged and does not stop the others."""
        folder = self.out / step.name
        self.say(step.name, f"begins on {', '.join(map(str, step.gpus))}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            WAYS[type(step)](self, step, folder)
            self.say(step.name, "passed")
        except Exception as error:
            with (self.out / "errors.log").open("a") as log:
                log.write(f"--- {step.name}\n{traceback.format_exc()}\n")
            self.say(step.name, f"FAILED: {' '.join(str(error).split())[:400]}")

    def whole(self, step: Step) -> bool:
        """Whether a step was carried out before."""
        done = self.out / step.name / step.done
        if not done.exists() or isinstance(step, Tuning):  # a tuning knows itself what is left
            return False
        return json.loads(done.read_text()).get("state", "passed") == "passed"


def run_campaign(campaign: Campaign, plan: Plan) -> None:
    """Take the steps in their order, side by side on the GPUs that are free; none overtakes one that waits for several."""
    campaign.say("campaign", f"begins on {campaign.slots} slots, its clock at 0")
    waiting, threads = list(plan), []
    with campaign.changed:
        while waiting:
            step = next((step for step in waiting if settled(campaign, step)), None)
            if step is None:
                step = waiting[0]
                if step.needs > len(campaign.free):
                    campaign.changed.wait(timeout=1)
                    continue
                threads.append(begin(campaign, step))
            waiting.remove(step)
    for thread in threads:
        thread.join()
    campaign.say("campaign", "ended")


def settled(campaign: Campaign, step: Step) -> bool:
    """Whether a step is through without being begun, which is said."""
    if campaign.whole(step):
        campaign.say(step.name, "done before")
    elif step.needs > campaign.slots:
        campaign.say(step.name, f"skipped: it needs {step.needs} GPUs, here are {campaign.slots}")
    elif campaign.limit_s - campaign.clock() < step.least_s or campaign.clock() > campaign.limit_s:
        campaign.say(step.name, f"skipped: too little time is left after second {campaign.clock():.0f}")
    else:
        return False
    return True


def begin(campaign: Campaign, step: Step) -> threading.Thread:
    """Start a step in a thread of its own, on GPUs of its own."""
    gpus = tuple(sorted(campaign.free)[: step.needs])
    campaign.free -= set(gpus)

    def take() -> None:
        os.sched_setaffinity(0, campaign.cores(gpus))  # this thread's, and so of every process that the step starts
        try:
            campaign.run(dataclasses.replace(step, gpus=gpus))
        finally:
            with campaign.changed:
                campaign.free |= set(gpus)
                campaign.changed.notify()

    thread = threading.Thread(target=take, name=step.name)
    thread.start()
    return thread


def pack(out: Path, archive: Path) -> None:
    """Everything of a campaign in one compressed file."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(out, arcname=out.name)


def slots_of(target: Target) -> int:
    """The GPUs of this machine."""
    return 1 if target.match.vendor == "cpu" else max(len(facts.machine().gpus), 1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plan", choices=PLANS, default="two")
    parser.add_argument("--target", default="h100")
    parser.add_argument("--out", type=Path, default=RUNS / "campaign")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="when everything must have ended")
    parser.add_argument("--slots", type=int, help="steps at one time (default: the GPUs of this machine)")
    parser.add_argument("--interpreter", type=Path, default=Path(sys.executable), help="the Python that holds vLLM")
    parser.add_argument("--only", nargs="*", help="names of the steps to take, in this order")
    parser.add_argument("--rehearse", action="store_true", help="the plan's steps small, with gpt-oss-nano on the CPU")
    parser.add_argument("--timetable", action="store_true", help="print when each step would run, and run nothing")
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
    target = load_target(options.target)
    try:
        plan = chosen(PLANS[options.plan](target), options.only)
    except UsageError as error:
        parser.error(error.line())
    slots = options.slots or slots_of(target)
    if options.timetable:
        print("\n".join(laid_out(plan, slots, options.minutes)))
        return
    if options.rehearse:
        plan, target = [rehearsed(step) for step in plan], load_target("cpu")
    interpreter = options.interpreter.absolute()
    campaign = Campaign(options.out.resolve(), interpreter, target.target, slots, options.minutes)
    campaign.say("campaign", f"python tool: {sandbox()}")
    run_campaign(campaign, plan)


def chosen(plan: Plan, names: list[str] | None) -> Plan:
    """The steps of those names in their order, or the plan; `UsageError` for a name that it has not."""
    by_name = {step.name: step for step in plan}
    if unknown := set(names or []) - by_name.keys():
        raise UsageError(f"no step {', '.join(sorted(unknown))}", do=f"choose from {', '.join(by_name)}")
    return [by_name[name] for name in names] if names else plan


def laid_out(plan: Plan, slots: int, minutes: float) -> list[str]:
    """A plan's timetable, a line each step, and what it leaves out."""
    rows = list(timetable(plan, slots, minutes * 60))
    lines = [
        f"{row.begin:6.0f} to {row.end:6.0f} s  GPU {', '.join(map(str, row.gpus)):10}  {row.step.name}"
        f"{', cut off' if row.cut else ''}"
        for row in rows
    ]
    left = [step.name for step in plan if step not in [row.step for row in rows]]
    return [*lines, f"no time: {', '.join(left) or 'none'}"]


def sandbox() -> str:
    """Where model-written Python runs here, or that it runs nowhere: pages then skip the tool, a tool load fails."""
    try:
        return choose("auto").describe()
    except CookbookError as error:
        return f"SKIPPED: {error.line()}"


if __name__ == "__main__":
    main()
