"""What the tests of the tuner share: points of chosen speed, a machine that stands for the servers, a study's document."""

import json
import os
from pathlib import Path

from helpers.bench.tune import Tuner, TuningPlan
from helpers.bench.tune.measurement import Measured
from helpers.records.record import MachineRecord, Percentiles, Point

MACHINE = MachineRecord(cpu="a CPU", cores=2, memory_gib=24)
VERSIONS = {"vllm": "0.32.0"}
REFUSED = "ValueError: max_num_active_seqs (64) cannot be greater than max_num_seqs (2)."


def point(users: int, tok_s: float, gpus: int = 1) -> Point:
    """A consistent point: `users` in flight, `tok_s` in all."""
    prompts, tokens = 3 * users, 16
    tpot, ttft = 1e3 * users / tok_s * 0.9, 1e3 * users / tok_s * (tokens - 0.9 * (tokens - 1))
    milliseconds = lambda value: Percentiles(p50=value, p90=value, p99=value, mean=value)  # noqa: E731
    return Point(
        concurrency=users,
        input_tokens=16,
        output_tokens=tokens,
        prompts=prompts,
        duration_s=prompts * tokens / tok_s,
        output_tok_s=tok_s,
        output_tok_s_per_gpu=tok_s / gpus,
        tok_s_per_user=1e3 / tpot,
        ttft_ms=milliseconds(ttft),
        tpot_ms=milliseconds(tpot),
        itl_ms=milliseconds(tpot),
        e2e_ms=milliseconds(ttft + tpot * (tokens - 1)),
    )


def speeds(values: dict) -> list[float] | None:
    """tok/s at concurrency 1 and 2 by configuration of the cpu space; None where vLLM does not start."""
    known = {(128, 2): [90, 240], (128, 64): [101, 220], (2, 2): [99, 210], (2, 64): None}
    return known[values["max-num-seqs"], values["max-num-active-seqs"]] if values else [100, 200]


class Servers:
    """Stands for the servers: counts the starts, keeps a line of each in a file, dies where it is told to."""

    def __init__(self, folder: Path, speeds=speeds, die_at: int = -1, interrupt_at: int = -1):
        self.starts: list[dict] = []
        self.file, self.speeds, self.die_at, self.interrupt_at = (folder / "starts.jsonl", speeds, die_at, interrupt_at)

    def __call__(self, proposal, loads, folder: Path) -> Measured:
        with self.file.open("a") as file:
            file.write(json.dumps(proposal.values) + "\n")
        if len(self.starts) == self.die_at:
            os._exit(9)  # like kill -9: nothing of ours runs after it
        if len(self.starts) == self.interrupt_at:
            raise KeyboardInterrupt
        self.starts.append(proposal.values)
        found = self.speeds(proposal.values)
        if found is None:
            return Measured(cause=REFUSED)
        points = [
            point(load.concurrency, tok_s * proposal.gpus, proposal.gpus)
            for load, tok_s in zip(loads, found, strict=True)
        ]
        return Measured(points=points, startup_s={"total": 1.0})

    def all_starts(self) -> list[dict]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]


SMALL = {"concurrency": [1, 2], "input_tokens": 16, "output_tokens": 16}


def tuner(tmp_path: Path, servers, objective: str = "throughput", tpot_ms=None, **options) -> Tuner:
    """A tuner of the cpu space in a folder of the test."""
    plan = options.pop("plan", None) or TuningPlan("cpu", objective, tpot_ms, SMALL)
    said = options.pop("said", [])
    return Tuner(
        plan,
        servers,
        machine=MACHINE,
        versions=VERSIONS,
        commit="unknown",
        checkpoint="gpt-oss-nano",
        folder=tmp_path / "study",
        report=said.append,
        **options,
    )
