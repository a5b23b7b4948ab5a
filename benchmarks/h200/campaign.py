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
import subprocess
import sys
import tarfile
import threading
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.h200.plan import PLANS, Job, Plan, Routing, Step, Steps, Tuning
from helpers.bench.record import Point, RunRecord
from helpers.bench.roofline import roofline
from helpers.bench.steps import profile_step, profiler_arguments
from helpers.bench.sweep import line_of, sweep
from helpers.bench.worker import LoadWorker, environment
from helpers.command.serve import bare_argv, serve_command
from helpers.errors import CookbookError
from helpers.paths import CACHE, ROOT
from helpers.recipes import check_parameters, load_model, load_target
from helpers.runs import facts
from helpers.runs.weights import build_nano, write_synthetic
from helpers.server import Server, free_port, launch
from helpers.server.logfacts import backends, memory


def visible(gpus: tuple[int, ...]) -> dict[str, str]:
    """The variable that shows a process these GPUs only; none where it uses none."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))} if gpus else {}


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
                return build_nano(self.interpreter, CACHE / "models")
            began, env = self.clock(), visible(step.gpus[:1])
            folder = write_synthetic(load_model(step.model), self.interpreter, CACHE / "models", env)
            self.say(step.name, f"checkpoint of {step.model} in {self.clock() - began:.1f} s")
            return folder

    def launch(self, step: Step, serve: list[str], env: dict[str, str], port: int, log: Path) -> Server:
        """The server of a `vllm serve` command, with this campaign's Python."""
        argv = [str(self.interpreter), "-m", "vllm.entrypoints.cli.main", *serve[1:]]
        return launch(
            argv, env, port=port, log=log, target=self.target.target, model=step.model,
            report=lambda phase, seconds, line: self.say(step.name, f"{phase} {seconds:.0f} s"),
        )  # fmt: skip

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
            ways = {Job: self.job, Routing: self.routing, Tuning: self.tuning, Steps: self.steps}
            ways[type(step)](step, folder)
            self.say(step.name, "passed")
        except Exception as error:
            with (self.out / "errors.log").open("a") as log:
                log.write(f"--- {step.name}\n{traceback.format_exc()}\n")
            self.say(step.name, f"FAILED: {' '.join(str(error).split())[:400]}")

    def job(self, job: Job, folder: Path) -> None:
        """Serve, sweep, record, stop."""
        started, model = datetime.now(UTC), load_model(job.model)
        folder.mkdir(parents=True, exist_ok=True)
        with LoadWorker(
            self.interpreter, folder / "bench" / "load.log"
        ) as worker:  # imports beside the server
            weights, port = self.checkpoint(job), free_port()
            serve, env = self.command(job, str(weights), port)
            server = self.launch(job, serve, env, port, folder / "server.log")
            points: list[Point] = []

            def progress(event: dict) -> None:
                if event["event"] == "point":
                    points.append(event["measured"])
                    self.say(job.name, line_of(event["measured"]))
                    if job.weights != "dummy":
                        self.record(job, folder, serve, env, server, points, started)

            tag = " ".join([job.weights, *serve[3:], *env.values()]).replace(str(port), "PORT")
            try:
                limit = roofline(model, self.target.device, job.size)
                sweep(
                    server.base_url, job.model, weights, self.interpreter, job.loads, folder,
                    gpus=job.size, tag=tag,
                    roofline=None if job.weights == "dummy" else limit, worker=worker, progress=progress,
                )  # fmt: skip
                if job.weights == "dummy":  # never a record: these speeds are not the model's
                    rows = [point.model_dump(mode="json") for point in points]
                    value = {"state": "passed", "weights": "dummy", "note": job.note, "argv": serve[3:],
                             "versions": self.facts["versions"], "taken": f"{started:%Y-%m-%d}", "throughput": rows}  # fmt: skip
                    (folder / "record.json").write_text(json.dumps(value, indent=1) + "\n")
                else:
                    self.record(job, folder, serve, env, server, points, started, "passed")
            finally:
                self.say(job.name, server.stop())

    def command(self, job: Job, weights: str, port: int) -> tuple[list[str], dict[str, str]]:
        """The server's argv and environment: the recipe's throughput profile, or bare `vllm serve`."""
        given = {
            "model": job.model,
            "weights": "nano" if job.model == "gpt-oss-nano" else "synthetic",
            "port": port,
        }
        given |= {
            "tensor_parallel_size": job.size,
            "profile": "throughput",
            "install": "existing",
        }
        full = serve_command(
            self.target, load_model(job.model), check_parameters(self.target, given), weights, port
        )
        argv, env = list(full.argv), dict(full.env)
        if not job.recipe:
            argv, env = bare_argv(weights, job.model, port, job.size), {}
        argv += job.arguments
        if job.weights == "dummy":
            argv += ["--load-format", "dummy"]
        return argv, env | visible(job.gpus)

    def record(self, job, folder, serve, env, server, points, started, state="failed") -> None:
        """Write what is known so far; `failed` until the whole sweep is done."""
        log = folder / "server.log"
        RunRecord(
            target=self.target.target, model=job.model, weights=job.weights,
            parameters={"tensor_parallel_size": job.size, "profile": "throughput",
                        "install": "existing", "variant": job.variant},
            argv=["<checkpoint>" if word == serve[2] else word for word in serve], env=env,
            **self.facts,
            startup_s=server.startup_s, memory=memory(log), backends=backends(log), contracts=[], state=state,
            why="" if state == "passed" else "the sweep did not finish", started=started,
            finished=datetime.now(UTC), throughput=points,
            notes=["throughput only: contracts are checked by the target notebook", *filter(None, [job.note])],
        ).write(folder / "record.json")  # fmt: skip

    def tuning(self, step: Tuning, folder: Path) -> None:
        """`cookbook tune` in a process of its own, since what it starts has to see its GPU only."""
        self.checkpoint(step)
        users = ",".join(map(str, step.concurrency))
        argv = [sys.executable, "-m", "helpers.cli", "tune", self.target.target, "--model", step.model, "--objective",
                step.objective, "--concurrency", users, "--trials", str(step.trials), "--start-minutes", "6",
                "--study", str(folder)]  # fmt: skip
        if step.gpus:
            argv += ["--weights", "synthetic", "--install", "existing"]
        process = subprocess.Popen(argv, cwd=ROOT, env=os.environ | visible(step.gpus), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        for line in process.stdout:
            self.say(step.name, line.rstrip())
        if process.wait():
            raise CookbookError("the tuning failed", f"exit code {process.returncode}", "see the lines above")

    def steps(self, step: Steps, folder: Path) -> None:
        """Bare `vllm serve` with its profiler, one profile per batch size; the traces stay where there is room."""
        weights, port = self.checkpoint(step), free_port()
        traces = CACHE / "traces" / step.name
        serve = bare_argv(str(weights), step.model, port) + profiler_arguments(traces)
        folder.mkdir(parents=True, exist_ok=True)
        server = self.launch(step, serve, visible(step.gpus), port, folder / "server.log")
        found = []
        try:
            for batch in step.batches:
                found.append(profile_step(server.base_url, step.model, batch, traces))
                groups = ", ".join(f"{name} {ms:.2f}" for name, ms in found[-1].groups().items())
                self.say(step.name, f"B={batch}: {found[-1].step_ms:.2f} ms: {groups}")
        finally:
            value = {"model": step.model, "weights": "synthetic", "vllm": self.facts["versions"]["vllm"],
                     "gpu": self.facts["machine"].gpus[0], "argv": [word.replace(f"{ROOT}/", "") for word in serve[3:]],
                     "startup_s": server.startup_s, "profiles": [profile.model_dump() for profile in found]}  # fmt: skip
            name = "steps.json" if len(found) == len(step.batches) else "steps-part.json"
            (folder / name).write_text(json.dumps(value, indent=1) + "\n")
            self.say(step.name, server.stop())

    def routing(self, step: Routing, folder: Path) -> None:
        """Routing balance of the checkpoint and of dummy weights, side by side."""
        folder.mkdir(parents=True, exist_ok=True)
        weights, env = self.checkpoint(step), environment() | visible(step.gpus)
        env.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        running = []
        for kind in ("auto", "dummy"):
            name = "dummy" if kind == "dummy" else "synthetic"
            argv = [self.interpreter, "-m", "helpers.instack.routing", "--model", weights, "--load-format", kind,
                    "--gpu-memory-utilization", "0.4", "--out", folder / f"routing-{name}.json"]  # fmt: skip
            if step.gpus:  # a fixed cache: profiling memory would stumble over the other process
                argv += ["--kv-cache-bytes", 4 * 2**30]
            log = (folder / f"routing-{name}.log").open("wb")
            process = subprocess.Popen(list(map(str, argv)), cwd=ROOT, env=env, stdout=log, stderr=log)
            running.append((name, process))
            if not step.gpus:
                process.wait()  # one at a time where there is only a CPU
        for name, process in running:
            if process.wait(timeout=600):
                raise CookbookError(f"routing of {name} weights failed", f"see routing-{name}.log")
            rows = json.loads((folder / f"routing-{name}.json").read_text())["batches"]
            self.say(
                step.name, f"{name}: " + ", ".join(f"B={row['batch']} {row['ratio']:.3f}" for row in rows)
            )


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
