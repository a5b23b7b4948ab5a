"""Wall time of the cookbook's launch, sweep and stop against a bare server and one CLI call per point."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from benchmarks.result import Result, Value, result_of
from helpers.bench.sweep import plan, sweep
from helpers.bench.worker import LoadWorker, environment
from helpers.errors import CookbookError
from helpers.machine import facts
from helpers.paths import ROOT, shown
from helpers.processes import Identity, healthy
from helpers.recipes import check_parameters, load_model, load_target
from helpers.recipes.command.serve import Command, serve_command, vllm
from helpers.runs.folder import kept_on_failure
from helpers.server import end_group, free_port
from helpers.server.replicas import launch_vllm

INPUT, OUTPUT = 64, 32
CONCURRENCY = [1, 2, 4, 8]


def recipe_command(checkpoint: Path, port: int) -> Command:
    """The CPU recipe's own command for gpt-oss-nano."""
    target, model = load_target("cpu"), load_model("gpt-oss-nano")
    return serve_command(target, model, check_parameters(target, {}), str(checkpoint), port)


def cookbook(interpreter: Path, checkpoint: Path, folder: Path) -> float:
    """Seconds from launch to stopped with the cookbook's functions."""
    began, command = time.perf_counter(), recipe_command(checkpoint, free_port())
    with LoadWorker(interpreter, folder / "bench" / "load.log") as worker:
        server = launch_vllm(
            [command], interpreter, port=command.port, log=folder / "server.log", target="cpu", report=lambda *_: None
        )
        try:
            loads = plan(CONCURRENCY, INPUT, OUTPUT)
            sweep(server.base_url, "gpt-oss-nano", checkpoint, interpreter, loads, folder, worker=worker)
        finally:
            server.stop()
    return time.perf_counter() - began


@contextmanager
def served_by_hand(command: Command, interpreter: Path, log: Path) -> Iterator[IO[bytes]]:
    """A server by its command alone, ready when the block begins, ended after it; yields its open log."""
    with log.open("wb") as out:
        argv, env = command.run_by(interpreter), os.environ | command.env
        process = subprocess.Popen(argv, env=env, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
        server = Identity.of(process.pid)
        try:
            while not healthy(command.port):
                if process.poll() is not None:
                    raise CookbookError("the bare server died", do=f"see `cookbook doctor {shown(log)}`")
                time.sleep(0.2)
            yield out
        finally:
            end_group(server)
            process.wait()


def bare(interpreter: Path, checkpoint: Path, folder: Path) -> float:
    """Seconds for the same server started by hand and one `vllm bench serve` call per point."""
    began, port = time.perf_counter(), free_port()
    with served_by_hand(recipe_command(checkpoint, port), interpreter, folder / "bare.log") as log:
        for load in plan(CONCURRENCY, INPUT, OUTPUT):
            call = [
                *vllm(interpreter),
                "bench",
                "serve",
                "--port",
                str(port),
                "--model",
                "gpt-oss-nano",
                "--tokenizer",
                str(checkpoint),
                "--dataset-name",
                "random",
                "--random-input-len",
                str(INPUT),
                "--random-output-len",
                str(OUTPUT),
                "--ignore-eos",
                "--num-prompts",
                str(load.prompts),
                "--max-concurrency",
                str(load.concurrency),
                "--num-warmups",
                str(load.concurrency),
                "--temperature",
                "1.0",
                "--save-result",
                "--result-dir",
                str(folder),
                "--percentile-metrics",
                "ttft,tpot,itl,e2el",
            ]
            subprocess.run(call, env=environment(), cwd=ROOT, stdout=log, stderr=log, check=True)
    return time.perf_counter() - began


def measure(interpreter: Path, checkpoint: Path) -> Result:
    """Both ways, one after the other."""
    with kept_on_failure("bench-by-hand") as one, kept_on_failure("bench-cookbook") as other:
        by_hand = bare(interpreter, checkpoint, one)
        ours = cookbook(interpreter, checkpoint, other)
    points = f"{len(CONCURRENCY)} points, {INPUT}/{OUTPUT} tokens"
    values = [
        Value(name="cookbook / by hand", value=ours / by_hand, unit="x", bar=1.0, detail=points),
        Value(name="cookbook: launch, sweep, stop", value=ours, unit="s"),
        Value(name="by hand: vllm serve, one vllm bench serve per point", value=by_hand, unit="s"),
    ]
    versions = {"vllm": facts.versions(interpreter)["vllm"]}
    return result_of("sweep_cost", "What does the cookbook add to a sweep?", values, versions)
