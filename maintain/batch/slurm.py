"""A plan as a Slurm job array: one task a run, each on devices that Slurm gave it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from helpers.paths import ROOT
from maintain.batch.plan import PlannedRun
from maintain.batch.slots import need


def script(plan: Path, runs: Sequence[PlannedRun], folder: Path) -> str:
    """The batch script for `sbatch`; submit it from a login node that shares this checkout with the nodes.

    Slurm shows a task its own GPUs (CUDA_VISIBLE_DEVICES), and tasks of one array never share one. Skipped runs get no task.
    """
    chosen = [number for number, run in enumerate(runs, 1) if not run.skip]
    gpus = max(need(runs[number - 1])[1] for number in chosen)
    options = [
        f"--job-name=cookbook-{plan.stem}",
        f"--array={','.join(map(str, chosen))}",
        "--ntasks=1",
        *([f"--gpus={gpus}"] if gpus else ["--exclusive"]),
        f"--output={folder}/slurm-%a.log",
    ]
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in options),
        "# once: mkdir -p the folder of --output, and `cookbook install` the stack; time and partition are your cluster's",
        f"cd {shlex.quote(str(ROOT))}",
        f'exec .venv/bin/cookbook batch {shlex.quote(str(plan.resolve()))} --only "$SLURM_ARRAY_TASK_ID"',
    ]
    return "\n".join(lines) + "\n"
