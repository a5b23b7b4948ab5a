"""Error of TTFT, TPOT and throughput against a server of known latency."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from benchmarks.result import Result, Value, result_of
from helpers.bench.sweep import Load, sweep
from helpers.bench.worker import LoadWorker
from helpers.machine import facts
from helpers.paths import ROOT
from helpers.runs.folder import kept_on_failure

TTFT_MS, ITL_MS = 500.0, 20.0  # what a loaded server shows; the error in ms hardly depends on them
TOKENS, WAVES = 128, 3
CONCURRENCY = [1, 8, 32]
BAR = 1.0  # percent


@contextmanager
def latency_server(*arguments: str):
    """A server of known latency; yields its base URL."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "benchmarks" / "latency_server.py"), *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        yield json.loads(process.stdout.readline())["base_url"]
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()


def errors(point, ttft_ms: float, itl_ms: float) -> dict[str, float]:
    """Relative error in percent of a point's means against the truth."""
    e2e_s = (ttft_ms + itl_ms * (point.output_tokens - 1)) / 1e3
    true_rate = point.concurrency * point.output_tokens / e2e_s
    return {
        "TTFT": 100 * abs(point.ttft_ms.mean / ttft_ms - 1),
        "TPOT": 100 * abs(point.tpot_ms.mean / itl_ms - 1),
        "throughput": 100 * abs(point.output_tok_s / true_rate - 1),
    }


def measure(interpreter: Path, tokenizer: Path) -> Result:
    """Sweep the known server and compare."""
    loads = [
        Load(concurrency=users, input_tokens=64, output_tokens=TOKENS, prompts=WAVES * users, warmup_output_tokens=8)
        for users in CONCURRENCY
    ]
    arguments = ("--ttft-ms", str(TTFT_MS), "--itl-ms", str(ITL_MS))
    values = []
    with (
        kept_on_failure("bench-fidelity") as folder,
        latency_server(*arguments) as url,
        LoadWorker(interpreter, folder / "load.log") as worker,
    ):
        points = sweep(url, "known", tokenizer, interpreter, loads, folder, worker=worker)
    for point in points:
        truth = {"TTFT": f"{TTFT_MS:g} ms", "TPOT": f"{ITL_MS:g} ms", "throughput": ""}
        for name, error in errors(point, TTFT_MS, ITL_MS).items():
            detail = f"true {truth[name]}" if truth[name] else ""
            values.append(
                Value(
                    name=f"{name} error at concurrency {point.concurrency}",
                    value=error,
                    unit="%",
                    bar=BAR,
                    detail=detail,
                )
            )
    versions = {"vllm": facts.versions(interpreter)["vllm"]}
    return result_of("fidelity", "How far off are the measurements?", values, versions)
