"""The other steps of the campaign: a tuning, a decode step taken apart, the balance of routing, known answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from benchmarks.h200.plan import Answers, Routing, Step, Steps, Tuning, visible
from helpers.bench.steps import profile_step, profiler_arguments
from helpers.bench.worker import environment
from helpers.command.serve import bare_argv
from helpers.errors import CookbookError
from helpers.paths import CACHE, ROOT
from helpers.recipes.tuning import FILE, load_space
from helpers.server import free_port
from helpers.server.logfacts import backends


def tune(campaign, step: Tuning, folder: Path) -> None:
    """`cookbook tune` in a process of its own, since what it starts has to see its GPU only."""
    campaign.checkpoint(step)
    argv = [sys.executable, "-m", "helpers.cli", "tune", campaign.target.target, "--model", step.model, "--objective",
            step.objective, "--concurrency", ",".join(map(str, step.concurrency)), "--trials", str(step.trials),
            "--start-minutes", "6", "--study", str(folder)]  # fmt: skip
    if step.gpus:
        argv += ["--weights", "synthetic", "--install", "existing"]
    if step.first:
        argv += ["--space", str(space_with(campaign.target.target, step, folder))]
    process = subprocess.Popen(argv, cwd=ROOT, env=os.environ | visible(step.gpus), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    for line in process.stdout:
        campaign.say(step.name, line.rstrip())
    if process.wait():
        raise CookbookError("the tuning failed", f"exit code {process.returncode}", "see the lines above")


def space_with(target: str, step: Tuning, folder: Path) -> Path:
    """The target's search space with the step's own configurations to begin with, as a file."""
    name, _ = load_space(target, step.model)
    space = yaml.safe_load(FILE.read_text())[name]
    space["first"] = {step.objective: step.first}
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump({name: space}, sort_keys=False))
    return file


def profile(campaign, step: Steps, folder: Path) -> None:
    """Bare `vllm serve` with its profiler, one profile per batch size; the traces stay where there is room."""
    weights, port = campaign.checkpoint(step), free_port()
    traces = CACHE / "traces" / step.name
    serve = bare_argv(str(weights), step.model, port) + step.arguments + profiler_arguments(traces)
    log, found = folder / "server.log", []
    server = campaign.launch(step, serve, visible(step.gpus), port, log)
    try:
        for batch in step.batches:
            found.append(profile_step(server.base_url, step.model, batch, traces))
            groups = ", ".join(f"{name} {ms:.2f}" for name, ms in found[-1].groups().items())
            campaign.say(step.name, f"B={batch}: {found[-1].step_ms:.2f} ms: {groups}")
    finally:
        value = {"model": step.model, "weights": "synthetic", **seen(campaign, step, serve, log),
                 "startup_s": server.startup_s, "profiles": [one.model_dump() for one in found]}  # fmt: skip
        name = "steps.json" if len(found) == len(step.batches) else "steps-part.json"
        (folder / name).write_text(json.dumps(value, indent=1) + "\n")
        campaign.say(step.name, server.stop())


def seen(campaign, step: Step, serve: list[str], log: Path) -> dict:
    """What a measurement says of its server."""
    gpus = campaign.facts["machine"].gpus
    return {"vllm": campaign.facts["versions"]["vllm"], "gpu": gpus[0] if gpus else "",
            "argv": [word.replace(f"{ROOT}/", "") for word in serve[3:]], "backends": backends(log)}  # fmt: skip


def route(campaign, step: Routing, folder: Path) -> None:
    """Routing balance of the checkpoint and of dummy weights, side by side."""
    weights, env = campaign.checkpoint(step), environment() | visible(step.gpus)
    env.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    running, alone = [], not step.gpus or "120b" in step.model  # only a CPU, or no room for two models
    for kind in ("auto", "dummy"):
        name = "dummy" if kind == "dummy" else "synthetic"
        argv = [campaign.interpreter, "-m", "helpers.instack.routing", "--model", weights, "--load-format", kind,
                "--gpu-memory-utilization", "0.9" if alone else "0.4", "--out", folder / f"routing-{name}.json"]  # fmt: skip
        if step.gpus:  # a fixed cache: profiling memory would stumble over the other process
            argv += ["--kv-cache-bytes", 4 * 2**30]
        log = (folder / f"routing-{name}.log").open("wb")
        process = subprocess.Popen(list(map(str, argv)), cwd=ROOT, env=env, stdout=log, stderr=log)
        running.append((name, process))
        if alone:
            process.wait()
    for name, process in running:
        if process.wait(timeout=600):
            raise CookbookError(f"routing of {name} weights failed", f"see routing-{name}.log")
        rows = json.loads((folder / f"routing-{name}.json").read_text())["batches"]
        words = ", ".join(f"B={row['batch']} {row['ratio']:.3f}" for row in rows)
        campaign.say(step.name, f"{name}: {words}")


def answer(campaign, step: Answers, folder: Path) -> None:
    """Serve gpt-oss-nano and put the quick gate's questions to it; what a server answered at its end is kept too."""
    from helpers.evals.quick import run_quick

    weights, port, log = campaign.checkpoint(step), free_port(), folder / "server.log"
    serve = bare_argv(str(weights), step.model, port) + step.arguments
    env = {} if step.gpus else {"VLLM_CPU_KVCACHE_SPACE": "1"}
    server = campaign.launch(step, serve, env | visible(step.gpus), port, log)
    try:
        gate = run_quick(server.base_url + "/v1", step.model)
    finally:
        campaign.say(step.name, server.stop())
    value = {"state": "passed" if gate.passed else "failed", "why": gate.why(), "needed": gate.needed,
             "rounds": [round(gate.share(number), 3) for number in range(gate.rounds)],
             "model": step.model, **seen(campaign, step, serve, log)}  # fmt: skip
    (folder / "answers.json").write_text(json.dumps(value, indent=1) + "\n")
    campaign.say(step.name, gate.text().splitlines()[0])
    if not gate.passed:
        raise CookbookError("the answers are wrong", gate.why())
