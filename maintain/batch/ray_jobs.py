"""A plan as Ray jobs: one job a run, each on devices that Ray gave it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from helpers.paths import ROOT
from maintain.batch.plan import PlannedRun
from maintain.batch.slots import need


def script(plan: Path, runs: Sequence[PlannedRun], folder: Path) -> str:
    """A script of `ray job submit`, to be run where RAY_ADDRESS reaches the head; every node sees this checkout.

    Ray shows a job its own GPUs (CUDA_VISIBLE_DEVICES), and two jobs never share one. A run on a CPU takes one of the CPUs
    that its node was started with. Skipped runs get no job. The exit code is 1 where a job failed.
    """
    place, log = shlex.quote(str(ROOT)), shlex.quote(str(folder))
    jobs = []
    for number, run in enumerate(runs, 1):
        if run.skip:
            continue
        devices = need(run)[1]
        wanted = f"--entrypoint-num-cpus=1 --entrypoint-num-gpus={devices}" if devices else "--entrypoint-num-cpus=1"
        batch = f"cd {place} && exec .venv/bin/cookbook batch {shlex.quote(str(plan.resolve()))} --only {number}"
        jobs.append(f"submit {number} {wanted} -- bash -c {shlex.quote(batch)}")
    return "\n".join(
        [
            "#!/bin/bash",
            "# needs `ray[default]`, and on each node `ray start`; a node for runs on its CPU: with --num-cpus=1",
            ': "${RAY_ADDRESS:?on the head: http://127.0.0.1:8265}"',
            f"mkdir -p {log}",
            "submit() {",
            f'    ray job submit "${{@:2}}" > {log}/ray-"$1".log 2>&1 &',
            "}",
            *jobs,
            "failed=0",
            'for job in $(jobs -p); do wait "$job" || failed=1; done',
            "exit $failed",
            "",
        ]
    )
