"""The chosen configuration as a block of the recipe to paste, with its measured ratio and the study that shows it."""

from pathlib import Path

import yaml

from helpers import paths
from helpers.bench.tune.choice import Verdict, chosen
from helpers.bench.tune.plan import TuningPlan
from helpers.bench.tune.study import Study
from helpers.errors import UsageError
from helpers.paths import shown
from helpers.recipes.block import serve_block


def record_path(study: Study) -> Path:
    """Where the study lies as the evidence of a profile."""
    moment = study.calls[-1].started
    name = f"{moment:%Y%m%d-%H%M%S}-{study.model}-{study.weights}-{study.objective}.json"
    return paths.RECORDS / study.target / "tuning" / name


def block(plan: TuningPlan, study: Study) -> str:
    """The chosen values as YAML for the model's own block of the profile, each with its reason and its study.

    `null` takes away what the recipe sets so far. Raises UsageError where no configuration beats bare.
    """
    won, plain = winner(study), plan.serving({})
    before = serve_block(plain.target, plan.model, plain.parameters)
    content: dict[str, dict] = {"args": {}, "env": {}}
    for name, value in won.trial.values.items():
        knob = plan.knobs[name]
        section = "env" if knob.kind == "variable" else "args"
        # A size is chosen by who runs the recipe. vLLM's default needs no line where nothing sets it.
        if knob.kind != "parameter" and (value is not None or name in getattr(before, section)):
            source = shown(record_path(study))
            content[section][name] = {"value": value, "why": why(study, won, knob.why, knob.risk), "source": source}
    parts = {section: settings for section, settings in content.items() if settings}
    whole = {"serve": {"per_model": {plan.model.model: {"profiles": {plan.objective.profile: parts}}}}}
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=118)


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
