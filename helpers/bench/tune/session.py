"""A tuning with everything that it needs: the stack, the weights, the load client, and a space that the parser takes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.bench.tune.measurement import Bench
from helpers.bench.tune.plan import TuningPlan
from helpers.bench.tune.tuner import Tuner
from helpers.bench.worker import parsed
from helpers.errors import UsageError
from helpers.machine import facts
from helpers.machine.interpreter import serving_stack
from helpers.paths import CACHE
from helpers.server.launch import READY_TIMEOUT
from helpers.server.weights import checkpoint, describe


@contextmanager
def tuning(
    plan: TuningPlan,
    folder: Path | None = None,
    fresh: bool = False,
    report: Callable[[str], None] = print,
    start_s: float = READY_TIMEOUT,
) -> Iterator[Tuner]:
    """The tuner of a plan on this machine; its load client ends with the block.

    with tuning(TuningPlan("cpu", "throughput")) as tuner:
        study = tuner.run(minutes=60)
    """
    interpreter, versions = serving_stack(plan.target.stack.install, plan.parameters.install)
    weights = checkpoint(plan.serving({}), interpreter, CACHE / "models")
    report(f"{plan.model.model}: {describe(weights)}")
    bench = Bench(interpreter, weights, kind=plan.serving({}).weights, report=report, start_s=start_s)
    tuner = Tuner(
        plan,
        bench,
        machine=facts.machine(),
        versions=versions,
        commit=facts.commit(),
        checkpoint=weights,
        folder=folder,
        fresh=fresh,
        report=report,
    )
    try:
        with tuner.alone():  # the folder is ours and can be written, before anything takes time
            if fresh or not tuner.file.exists():  # one that goes on was checked when it began
                check_space(plan, bench.worker(tuner.folder), weights)
            yield tuner
    finally:
        bench.close()


def commands(plan: TuningPlan, weights: str, port: int = 8000) -> list[dict]:
    """Every value of every knob in a command of its own, as the parser is asked about them."""
    rows = []
    for number, (name, value) in enumerate(plan.single_values()):
        command = plan.proposal({name: value}, weights, port).command
        rows.append({"id": str(number), "argv": command.words, "env": command.env})
    bare = plan.bare(weights, port).command
    return [*rows, {"id": "bare", "argv": bare.words, "env": bare.env}]


def check_space(plan: TuningPlan, worker, weights: str) -> None:
    """Refuse a space with a flag or value that vLLM's own parser does not take, before any server is started."""
    names = [f"{plan.where}.knobs.{name}" for name, _ in plan.single_values()] + [f"{plan.where}.baseline"]
    faults: dict[str, str] = {}
    for name, answer in zip(names, parsed(worker, commands(plan, weights)), strict=True):
        for fault in answer["faults"]:
            faults.setdefault(f"{name}: {fault['name']}", fault["message"])
    if faults:
        raise UsageError(
            "vLLM does not take the search space: " + " | ".join(f"{name}: {text}" for name, text in faults.items()),
            do="correct the named knobs",
        )
