"""The chosen configuration as a profile of the recipe, with its measured ratio and the study that shows it."""

import difflib
import os
import re
from pathlib import Path

from helpers import paths
from helpers.bench.tune.choice import Verdict, chosen
from helpers.bench.tune.plan import Plan
from helpers.bench.tune.study import Study
from helpers.bench.tune.yaml_text import with_value
from helpers.errors import CookbookError, UsageError
from helpers.paths import shown
from helpers.recipes import Target
from helpers.recipes.block import serve_block
from helpers.recipes.files import RecipeError, check_file
from helpers.recipes.target import ModelServe


def record_path(study: Study) -> Path:
    """Where the study lies as the evidence of a profile."""
    moment = study.calls[-1].started
    name = f"{moment:%Y%m%d-%H%M%S}-{study.model}-{study.weights}-{study.objective}.json"
    return paths.RECORDS / study.target / "tuning" / name


def tuned_recipe(plan: Plan, study: Study, text: str) -> str:
    """The recipe's text with the chosen values in the model's own block of the profile."""
    won = winner(study)
    serve, model, profile = plan.target.serve, plan.model.model, plan.objective.profile
    own = serve.per_model.get(model, ModelServe()).profiles.get(profile)
    plain = plan.serving({})
    before = serve_block(plain.target, plan.model, plain.parameters)
    for name, value in won.trial.values.items():
        knob = plan.knobs[name]
        if knob.kind == "parameter":
            continue  # a size is chosen by who runs the recipe; the reason of each flag names it
        section = "args" if knob.kind == "flag" else "env"
        known = name in getattr(before, section) or (own and name in getattr(own, section))
        if value is None and not known:
            continue  # vLLM's default, and nothing sets it
        entry = {"value": value, "why": why(study, won, knob.why, knob.risk), "source": shown(record_path(study))}
        text = with_value(text, ["serve", "per_model", model, "profiles", profile, section, name], entry)
    return text


def why(study: Study, won: Verdict, reason: str, risk: str | None) -> str:
    """The reason of a tuned value: the measured ratio of the whole profile, then what the flag does."""
    best = study.goal.best(won.trial.points)
    what = "faster TPOT" if study.objective == "latency" else "output tok/s per GPU"
    limit = f" with TPOT at most {study.tpot_ms:g} ms" if study.tpot_ms else ""
    gpus = f" on {won.trial.gpus} GPUs" if won.trial.gpus > 1 else ""
    text = (
        f"the tuned profile as a whole gave {won.gain:.2f}x {what} of bare vllm serve at concurrency "
        f"{best.concurrency}{gpus}{limit}, {min(won.ratios):.2f}x at its worst point, with {study.weights} weights; {reason}"
    )
    return f"{text}; risk: {risk}" if risk else text


def winner(study: Study) -> Verdict:
    """The chosen trial; `UsageError` when there is none to write."""
    won = chosen(study)
    if won is None:
        raise UsageError("there is no profile to write", why="no configuration beats bare `vllm serve`")
    return won


def diff(plan: Plan, study: Study) -> str:
    """What writing the profile would change in the recipe."""
    file = recipe_file(plan)
    before = file.read_text()
    after = tuned_recipe(plan, study, before)
    name = shown(file)
    return "".join(difflib.unified_diff(before.splitlines(True), after.splitlines(True), name, name))


def write(plan: Plan, study: Study) -> list[Path]:
    """Write evidence and profile, in this order; both or neither. Returns the files.

    The new recipe has to be valid and to render the very command that was measured.
    """
    file, record = recipe_file(plan), record_path(study)
    text = tuned_recipe(plan, study, file.read_text())
    part = file.with_name(f".{os.getpid()}.part") / file.name  # a recipe's name follows from its file's
    part.parent.mkdir()
    try:
        part.write_text(text)
        target, faults = check_file(part, Target)
        if target is None:
            raise RecipeError([re.sub(r"^[^:]*", shown(file), fault, count=1) for fault in faults])
        same_command(plan, study, target)
        study.write(record)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
        part.parent.rmdir()
    return [file, record]


def same_command(plan: Plan, study: Study, target: Target) -> None:
    """Refuse a recipe whose command is not the one that was measured."""
    won = winner(study)
    serving = plan.serving(won.trial.values)
    after = serve_block(target, plan.model, serving.parameters)
    measured = serve_block(serving.target, plan.model, serving.parameters)
    values = [
        {name: setting.value for name, setting in (block.args | block.env).items()} for block in (after, measured)
    ]
    if values[0] != values[1]:
        raise CookbookError(
            "the profile was not written", "the recipe would start another command than the measured one"
        )


def unsupported(target: Target) -> list[str]:
    """Tuned settings of a recipe whose study is not there, is another's, or does not show what they say."""
    faults = []
    for model, own in target.serve.per_model.items():
        for profile, block in own.profiles.items():
            for name, setting in (block.args | block.env).items():
                where = f"{target.target}: {model}, {profile}, {name}"
                if "/tuning/" not in setting.source:
                    continue
                try:
                    study = Study.read(paths.ROOT / setting.source)
                except CookbookError as error:
                    faults.append(f"{where}: {error.line()}")
                    continue
                won = chosen(study)
                shows = won and won.trial.values.get(name) == setting.value and f"gave {won.gain:.2f}x" in setting.why
                if not shows or (study.target, study.model) != (target.target, model):
                    faults.append(f"{where}: {setting.source} does not show it")
    return faults


def recipe_file(plan: Plan) -> Path:
    return paths.TARGETS / f"{plan.target.target}.yaml"
