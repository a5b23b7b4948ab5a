"""A plan of runs: targets x models x varied parameters, checked as a whole before anything starts."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from helpers import paths
from helpers.errors import UsageError
from helpers.recipes import Target, check_parameters, load_model, load_target
from helpers.recipes.files import validation_faults


class BatchPlan(BaseModel):
    """A plan file.

    targets: [cpu, h200]                 # needed
    models: [gpt-oss-20b, gpt-oss-120b]  # the recipe's default when left out
    parameters: {weights: hub}           # the same for every run
    vary: {tensor_parallel_size: [1, 2]} # one run per value; several keys are crossed
    repeat: 3                            # each of them so often: what an interval is made of
    sweep: true                          # launch and measure only, without the notebook
    folder: runs/nightly                 # runs/batch-<name of the plan file> when left out
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    targets: list[str] = Field(min_length=1)
    models: list[str] = []
    parameters: dict[str, Any] = {}
    vary: dict[str, list[Any]] = {}
    repeat: int = Field(1, ge=1)
    sweep: bool = False
    folder: str = ""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan; `skip` says why it is not run."""

    name: str  # of its folder, unique in the plan
    target: str
    given: dict[str, Any]
    skip: str = ""
    sweep: bool = False  # measured without the notebook


def load_plan(path: Path) -> tuple[BatchPlan, list[PlannedRun], Path]:
    """The plan, its runs in order and the folder they go to. One `UsageError` lists every fault."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the plan {path} cannot be read", why=error.strerror or "", do="check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"the plan {path} is not YAML", why=" ".join(str(error).split())[:200]) from None
    try:
        plan = BatchPlan.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"the plan {path} is not valid", why=" | ".join(validation_faults(error))) from None
    runs, faults = _runs(plan)
    if not faults and all(run.skip for run in runs):
        faults = [f"nothing would run: {run.skip}" for run in runs]
    if faults:
        raise UsageError(f"the plan {path} cannot run", why=" | ".join(dict.fromkeys(faults)), do="nothing was started")
    folder = Path(plan.folder).expanduser() if plan.folder else paths.RUNS / f"batch-{Path(path).stem}"
    return plan, runs, folder.resolve()


def _runs(plan: BatchPlan) -> tuple[list[PlannedRun], list[str]]:
    """The runs of a plan in their order, and every fault of it."""
    runs: list[PlannedRun] = []
    faults = _faults(plan)
    values = [[(name, value) for value in choices] for name, choices in plan.vary.items()]
    for name in plan.targets:
        try:
            target = load_target(name)
        except UsageError as error:
            faults.append(str(error))
            continue
        for model, chosen in itertools.product(plan.models or [""], itertools.product(*values)):
            given = {**plan.parameters, **dict(chosen), **({"model": model} if model else {})}
            try:
                skip = _not_offered(target, model, given)
            except UsageError as error:
                faults.append(str(error))
                continue
            served = model or ("" if skip else given.get("model") or target.defaults.model)
            words = [name, served, *(f"{key}-{_word(value)}" for key, value in chosen)]
            label = "-".join(filter(None, words))
            for number in range(1, plan.repeat + 1):
                own = f"{len(runs) + 1:02}-{label}" + (f"-repeat-{number}" if plan.repeat > 1 else "")
                runs.append(PlannedRun(own, name, given, skip, plan.sweep))
    return runs, faults


def _faults(plan: BatchPlan) -> list[str]:
    """What is wrong with a plan whatever its targets offer."""
    faults = [f"vary.{name}: no values" for name, choices in plan.vary.items() if not choices]
    faults += [f"parameters.{name}: is varied too" for name in plan.parameters if name in plan.vary]
    if "run_dir" in plan.parameters | plan.vary:
        faults.append("run_dir: is set per run by the batch")
    for model in plan.models:
        try:
            load_model(model)
        except UsageError as error:
            faults.append(f"models: {error}")
    return faults


def _not_offered(target: Target, model: str, given: dict[str, Any]) -> str:
    """Why a target does not offer a run that another may, "" where it does; `UsageError` for what is wrong on any."""
    if model and model not in target.models:
        return f"{target.target} does not offer {model}"
    try:
        check_parameters(target, given)
    except UsageError:
        sizes = target.models[model or target.defaults.model].tensor_parallel_size
        size = given.get("tensor_parallel_size", sizes[0])
        if size in sizes:
            raise
        return f"tensor_parallel_size {size} is not offered on {target.target}"
    return ""


def _word(value: Any) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in str(value)).strip("_")[:40]
