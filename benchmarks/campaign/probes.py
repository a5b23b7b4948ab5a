"""The other steps of a campaign: a notebook, a tuning, a decode step taken apart, the balance of routing, known answers."""

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import yaml

from benchmarks.campaign.decode import profile_step, profiler_arguments
from benchmarks.campaign.measure import command, elsewhere
from benchmarks.campaign.plan import Answers, Hunt, Notebook, Routing, Steps, Tuning
from helpers.bench.worker import environment
from helpers.errors import CookbookError
from helpers.logs import backends
from helpers.paths import CACHE, ROOT
from helpers.recipes.command.serve import Command, bare_command, flags_of
from helpers.recipes.tuning import FILE, load_space

LAST_S = 20  # of a campaign, kept for a hunt's last batch and its record


def notebook(campaign, step: Notebook, folder: Path) -> None:
    """`cookbook run` in a process of its own, since what it starts has to see its GPUs only."""
    campaign.checkpoint(step)
    given = {"model": step.model, "weights": step.weights, "install": "existing"}
    if step.gpus[0]:  # the first has the page's own port: what it prints is what the page says
        given["port"] = campaign.port(step)
    if step.concurrency:
        given["concurrency"] = step.concurrency
    given["run_dir"] = str(folder)
    if step.needs > 1:
        given["tensor_parallel_size"] = step.needs
    if campaign.on_cpu:
        given |= {"input_tokens": 64, "output_tokens": 16}
    argv = [sys.executable, "-m", "helpers.cli", "run", campaign.target.target]
    for name, value in given.items():
        argv += ["-p", name, str(value)]
    env = os.environ | campaign.visible(step.gpus) | {"COOKBOOK_PYTHON": str(campaign.interpreter)}
    said = watched(campaign, argv, env, folder / "run.log")
    for line in said.splitlines():
        campaign.say(step.name, line)


def watched(campaign, argv: list[str], env: dict[str, str], log: Path, good: tuple[int, ...] = (0,)) -> str:
    """Run a command until it ends or the campaign's time is over; what it said, `CookbookError` where its code is not good."""
    with log.open("wb") as out:
        process = subprocess.Popen(list(map(str, argv)), cwd=ROOT, env=env, stdout=out, stderr=out)
    try:
        code = process.wait(timeout=min(campaign.left_s(), threading.TIMEOUT_MAX))
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
        raise CookbookError("cut off", "the campaign's time was over") from None
    said = log.read_text(errors="replace")
    if code not in good:
        last = said.strip().splitlines()[-1] if said.strip() else "no output"
        raise CookbookError(f"{Path(log).name}: exit code {code}", last)
    return said


def tune(campaign, step: Tuning, folder: Path) -> None:
    """`cookbook tune` in a process of its own, since what it starts has to see its GPU only."""
    campaign.checkpoint(step)
    argv = [
        sys.executable,
        "-m",
        "helpers.cli",
        "tune",
        campaign.target.target,
        "--model",
        step.model,
        "--objective",
        step.objective,
        "--concurrency",
        ",".join(map(str, step.concurrency)),
        "--trials",
        str(step.trials),
        "--start-minutes",
        "6",
        "--study",
        str(folder),
    ]
    if not campaign.on_cpu:
        argv += ["--weights", "synthetic", "--install", "existing"]
    if step.first:
        argv += ["--space", str(space_with(campaign.target.target, step, folder))]
    process = subprocess.Popen(
        argv,
        cwd=ROOT,
        env=os.environ | campaign.visible(step.gpus),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
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
    """Bare `vllm serve` or a lever with vLLM's profiler, a profile per batch size; the traces stay where there is room."""
    weights, port = campaign.checkpoint(step), campaign.port(step)
    traces = CACHE / "traces" / step.name
    flags = flags_of([*step.lever.arguments, *profiler_arguments(traces)])
    env = campaign.visible(step.gpus) | step.lever.env
    command = bare_command(str(weights), step.model, port).changed(flags, env)
    log, found = folder / "server.log", []
    server = campaign.launch(step, [command], port, log)
    try:
        for batch in step.batches:
            found.append(profile_step(server.base_url, step.model, batch, traces))
            groups = ", ".join(f"{name} {ms:.2f}" for name, ms in found[-1].groups().items())
            campaign.say(step.name, f"B={batch}: {found[-1].step_ms:.2f} ms: {groups}")
    finally:
        value = {
            "model": step.model,
            "weights": "synthetic",
            "variant": step.lever.variant,
            **seen(campaign, server.command, log),
            "startup_s": server.startup_s,
            "profiles": [one.model_dump() for one in found],
        }
        name = "steps.json" if len(found) == len(step.batches) else "steps-part.json"
        (folder / name).write_text(json.dumps(value, indent=1) + "\n")
        campaign.say(step.name, server.stop())


def host(campaign) -> dict:
    """What a measurement says of its host and of its day."""
    machine, versions = campaign.facts["machine"], campaign.facts["versions"]
    return {
        "day": f"{datetime.now(UTC):%Y-%m-%d}",
        "vllm": versions["vllm"],
        "torch": versions.get("torch", ""),
        "triton": versions.get("triton", ""),
        "gpu": machine.gpus[0] if machine.gpus else "",
        "driver": machine.driver,
    }


def seen(campaign, command: Command, log: Path) -> dict:
    """What a measurement says of its server, of its host and of its day."""
    argv = [word.replace(f"{ROOT}/", "") for word in command.words[2:]]
    return {**host(campaign), "argv": argv, "backends": backends(log)}


def route(campaign, step: Routing, folder: Path) -> None:
    """The balance of routing with the lever's flags and variables, and how far its answers lie from those without."""
    weights, env = campaign.checkpoint(step), environment() | campaign.visible(step.gpus) | step.lever.env
    draft = str(campaign.draft(step)) if step.lever.speculates else ""
    if campaign.on_cpu:
        env.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    kept = CACHE / "distributions" / step.model
    argv = [
        campaign.interpreter,
        "-m",
        "benchmarks.campaign.routing",
        "--model",
        weights,
        "--load-format",
        step.load_format,
        "--batch",
        *step.batches,
        "--variant",
        step.lever.variant,
        "--out",
        folder / step.done,
    ]
    if step.prompts:
        argv += ["--distributions", kept / step.name, "--prompts", step.prompts]
    watched(campaign, [*argv, "--", *step.lever.laid(draft)], env, folder / "routing.log")
    rows = json.loads((folder / step.done).read_text())["batches"]
    campaign.say(step.name, ", ".join(f"B={row['batch']} {row['ratio']:.3f}" for row in rows))
    if step.prompts:
        (kept / step.name / "variant").write_text(step.lever.variant)
        with campaign.guard_distances:
            compare(campaign, kept, folder)


def compare(campaign, kept: Path, folder: Path) -> None:
    """Hold every set of distributions of a model that is there against those of the recipe as it is (no variant)."""
    sets = {(one / "variant").read_text(): one for one in sorted(kept.iterdir()) if (one / "variant").exists()}
    reference = sets.pop("", None)
    if reference is None:
        return
    pairs = {"other batch size": sorted(reference.glob("batch-*"))[0]}
    pairs |= {variant: one / "batch-64.safetensors" for variant, one in sets.items()}
    found = {}
    for variant, other in pairs.items():
        argv = [campaign.interpreter, "-m", "benchmarks.campaign.distances", reference / "batch-64.safetensors", other]
        found[variant] = json.loads(watched(campaign, argv, environment(), folder / "distances.log"))
        campaign.say(
            folder.name, f"{variant}: top-1 {found[variant]['top1_agreement']:.3f}, KL {found[variant]['kl_mean']}"
        )
    value = {"reference": "BF16 activations, BF16 cache, batches of 64", "distances": found, "model": kept.name}
    value |= {"weights": "nano" if kept.name == "gpt-oss-nano" else "synthetic", **host(campaign)}
    (folder / "distances.json").write_text(json.dumps(value, indent=1) + "\n")


def hunt(campaign, step: Hunt, folder: Path) -> None:
    """Serve by the profile and the lever, hunt for the step's seconds; the record names what was served and found.

    A kill is a result: the step is through. So is what was sent when the campaign's time is over, but the step is not.
    """
    weights, port, log = campaign.checkpoint(step), campaign.port(step), folder / "server.log"
    draft = str(campaign.draft(step)) if step.lever.speculates else ""
    served = command(campaign, step, str(weights), port, draft)
    into, name = (
        folder / "hunt",
        f"request_hunt_{campaign.target.target}{step.name.partition('hunt')[2].replace('-', '_')}",
    )
    server = campaign.launch(step, [served], port, log)
    try:
        into.mkdir(exist_ok=True)
        about = {"served": words(campaign, step), "argv": elsewhere(server.command, draft).words[2:]}
        (into / "about.json").write_text(json.dumps(about | {"versions": campaign.facts["versions"]}, indent=1))
        argv = [sys.executable, "-m", "hunt", "--base-url", server.base_url, "--model", step.model, "--into", into]
        argv += ["--seconds", max(min(step.seconds, campaign.left_s() - LAST_S), LAST_S), "--requests", step.requests]
        argv += ["--random-weights"] if step.weights == "synthetic" else []
        said = watched(campaign, argv, dict(os.environ), folder / "hunt.log", (0, 1))
        if "kinds of findings" not in said:  # 1 is a kill, and any other failure
            raise CookbookError("the hunt failed", said.strip().splitlines()[-1] if said.strip() else "no output")
        done = step.done
    except CookbookError:
        done = "hunt-part.json"
        raise
    finally:
        campaign.say(step.name, server.stop())
        if (into / "progress.json").exists():
            argv = [sys.executable, "-m", "hunt", "--record", "--into", into, "--name", name, "--to", folder]
            subprocess.run(list(map(str, argv)), cwd=ROOT, check=True, capture_output=True)
            (folder / f"{name}.json").rename(folder / done)
            campaign.say(step.name, (folder / "hunt.log").read_text().strip().splitlines()[-1])


def words(campaign, step: Hunt) -> str:
    """What is hunted on."""
    lever = f" with {step.lever.variant}" if step.lever.variant else ""
    return f"{step.model} ({step.weights} weights) by the {step.profile} profile of {campaign.target.target}{lever}"


def answer(campaign, step: Answers, folder: Path) -> None:
    """Serve gpt-oss-nano and put the quick gate's questions to it; what a server answered at its end is kept too."""
    from helpers.checks.known_answers import run_quick

    weights, port, log = campaign.checkpoint(step), campaign.port(step), folder / "server.log"
    env = step.lever.env | ({"VLLM_CPU_KVCACHE_SPACE": "1"} if campaign.on_cpu else {})
    command = bare_command(str(weights), step.model, port).changed(flags_of(step.lever.arguments), env)
    server = campaign.launch(step, [command.changed({}, campaign.visible(step.gpus))], port, log)
    try:
        gate = run_quick(server.base_url + "/v1", step.model)
    finally:
        campaign.say(step.name, server.stop())
    value = {
        "state": "passed" if gate.passed else "failed",
        "why": gate.why(),
        "needed": gate.needed,
        "rounds": [round(gate.share(number), 3) for number in range(gate.rounds)],
        "model": step.model,
        "env": env,
        **seen(campaign, server.command, log),
    }
    (folder / "answers.json").write_text(json.dumps(value, indent=1) + "\n")
    campaign.say(step.name, gate.text().splitlines()[0])
    if not gate.passed:
        raise CookbookError("the answers are wrong", gate.why())
