"""What a target's evidence says, drawn: routing, dummy weights, decode steps, starts, tuning."""

import json
from collections import Counter
from math import isnan
from typing import Any

from matplotlib.figure import Figure

from helpers.bench.tune.plan import changed
from helpers.bench.tune.study import compared, studies
from helpers.bench.tune.table import plain
from helpers.errors import CookbookError
from helpers.plots.pareto import pareto_figure
from helpers.plots.recorded import Recorded, stacks_of
from helpers.plots.style import figure
from helpers.recipes import load_model, load_target
from helpers.records.curves import by_version, curves, evidence_file, load_records, newest_of, options
from helpers.records.record import RunRecord
from maintain.studies.routing import routing_figure
from maintain.studies.startup import Start
from maintain.studies.steps import StepProfile, step_limits
from maintain.studies.steps_figure import steps_figure
from maintain.studies.tuning import ratio_figure, startup_figure

NO_ROOFLINE = {"roofline_tok_s": None, "roofline_fraction": None}


def evidence(target: str, model: str, what: str) -> dict:
    """Such a measurement; `CookbookError` where there is none."""
    file = evidence_file(target, model, what)
    if not file.exists():
        raise CookbookError(f"{model} has no {what} measurement on {target}")
    return json.loads(file.read_text())


def routing(target: str, model: str) -> Recorded:
    """The share of experts that a decode step hits, by layer: synthetic weights, dummy ones, uniform routing."""
    found = [evidence(target, model, f"routing-{weights}") for weights in ("synthetic", "dummy")]
    title = f"{model} on {load_target(target).title}, vLLM {found[0]['vllm']}: experts hit by a decode step"
    lines = [title, "weights, tokens per step, experts hit, with uniform routing"]
    lines += [
        f"  {one['weights']:9} {row['batch']:4} {row['mean_share']:6.1%} {row['expected_share']:6.1%}"
        for one in found
        for row in one["batches"]
    ]
    return Recorded(lines, lambda: routing_figure(found, title))


def dummy(target: str, model: str) -> Recorded:
    """How much faster a server looks with `--load-format dummy` than with balanced weights, at equal concurrency."""
    found = evidence(target, model, "dummy")
    false = {row["concurrency"]: row for row in found["throughput"]}
    same = by_version(load_records(target)).get(found["versions"]["vllm"].split("+")[0], [])
    true = {p.concurrency: p for p in curves(same, model, 1024, 1024).get("TP1", [])}
    both = sorted(false.keys() & true.keys())
    rate = [false[c]["output_tok_s"] / true[c].output_tok_s for c in both]
    tpot = [false[c]["tpot_ms"]["p50"] / true[c].tpot_ms.p50 for c in both]
    title = f"{model} on {load_target(target).title}: --load-format dummy against balanced synthetic weights"
    lines = [title, "concurrency, output tok/s dummy / synthetic, TPOT dummy / synthetic"]
    lines += [f"  {c:4} {r:5.2f}x {t:5.2f}x" for c, r, t in zip(both, rate, tpot, strict=True)]
    ratios = {"output tok/s": rate, "TPOT": tpot}
    return Recorded(lines, lambda: ratio_bars(both, ratios, "dummy / synthetic weights", title))


def steps(target: str, model: str, what: str = "steps") -> Recorded:
    """A decode step by part beside the roofline of each part; `what` names another measurement than bare's."""
    found = evidence(target, model, what)
    profiles = [StepProfile(**profile) for profile in found["profiles"]]
    device = load_target(target).device
    limits = [step_limits(load_model(model), device, p.batch, p.context + p.steps / 2) or {} for p in profiles]
    experts = found.get("backends", {}).get("moe")
    title = f"{model} on one {found['gpu']}, {found['weights']} weights, vLLM {found['vllm']}: one decode step"
    title += f", experts through {experts}" if experts else ""
    lines = [title, "batch, part, ms measured, ms at the roofline"]
    for profile, limit in zip(profiles, limits, strict=True):
        for name, value in profile.groups().items():
            least = f" {limit[name]:6.2f}" if name in limit else ""
            lines.append(f"  {profile.batch:4} {name:18} {value:6.2f}{least}")
        lines.append(f"  {profile.batch:4} {'whole step, unprofiled':25} {profile.step_ms:6.2f}")
    return Recorded(lines, lambda: steps_figure(profiles, limits, title))


def starts(target: str, model: str) -> Recorded:
    """Starts by phase in the order of their time: of run records, of every study's configurations, then of profiled servers.

    All are of the releases of vLLM that the studies ran on.
    """
    releases = {study.versions.get("vllm") for study in studies(target, model)}
    own = [r for r in load_records(target) if r.model == model and r.versions.get("vllm") in releases]
    timed = [(r.finished, configuration(r), r.startup_s) for r in own]
    timed += [
        (t.started, f"{study.objective} study, {changed(t.values) if t.values else 'bare vllm serve'}", t.startup_s)
        for study in studies(target, model)
        for t in filter(None, [study.baseline, *study.trials])
    ]
    timed.sort(key=lambda start: start[0])
    timed = [start for start in timed if start[2]]
    days = Counter((f"{moment:%d %B}", name) for moment, name, _ in timed)
    bars = []
    for moment, name, seconds in timed:  # the time of day where one day has two of a name
        day = f"{moment:%d %B}"
        bars.append((f"{day if days[day, name] == 1 else f'{moment:%d %B %Hh%M}'}, {name}", seconds))
    for file in sorted(evidence_file(target, model, "steps").parent.glob(f"{model}-steps*.json")):
        found = json.loads(file.read_text())
        if found["vllm"] in releases:
            kernels = found.get("backends", {}).get("moe", "TRITON")
            bars.append((f"bare vllm serve with its profiler, {kernels}", found["startup_s"]))
    lines, drawn = ["start, seconds until ready, by phase"], []
    for name, seconds in bars:
        phases = {phase: value for phase, value in seconds.items() if phase != "total"}
        parts = ", ".join(f"{phase} {value:.0f}" for phase, value in phases.items())
        lines.append(f"  {name}: {seconds['total']:.0f} s ({parts})")
        drawn.append((name, Start("record", phases)))
    return Recorded(lines, lambda: startup_figure(drawn, "ready"))


def configuration(record: RunRecord) -> str:
    """What a record's server was started as: parallelism, then its variant or the profile with its graph sizes."""
    served = record.serving
    sizes = options(record.argv).get("--cudagraph-capture-sizes")
    graphs = f", {len(sizes)} graph sizes" if sizes else ""
    return served.label if served.variant else f"{served.label}, {served.profile} profile{graphs}"


def tuning(target: str, model: str, objective: str, place: int = -1) -> Recorded:
    """A committed study of an objective, the newest unless `place` names another in the order of time: each
    configuration's ratio to bare `vllm serve`."""
    found = compared(target, model, objective)
    if not found:
        raise CookbookError(f"{model} was never tuned for {objective} on {target}", do=f"run `cookbook tune {target}`")
    study = found[place]
    return Recorded(plain(study).splitlines(), lambda: ratio_figure(study))


def models_compared(target: str, input_tokens: int = 1024, output_tokens: int = 1024) -> Recorded:
    """Throughput per GPU against speed per user of each model at its recommended size, with the newest vLLM that ran."""
    recipe, measured, used = load_target(target), {}, []
    for model, sizes in recipe.models.items():
        records = newest_of([record for record in load_records(target) if record.model == model])
        points = curves(records, model, input_tokens, output_tokens).get(f"TP{sizes.default}", [])
        if len(points) > 1:
            measured[f"{model}, TP{sizes.default}"] = [point.model_copy(update=NO_ROOFLINE) for point in points]
            used += records
    title = f"gpt-oss on {recipe.title}, {input_tokens:,}/{output_tokens:,} tokens: {stacks_of(used)}"
    lines = [title, "model, concurrency, output tok/s per GPU, tok/s per user"]
    lines += [
        f"  {label} {p.concurrency} {p.output_tok_s_per_gpu:,.0f} {p.tok_s_per_user:.0f}"
        for label, points in measured.items()
        for p in points
    ]
    return Recorded(lines, lambda: pareto_figure(measured, [], title))


def times(ratio: float) -> str:
    """A ratio as a page writes it; a dash for one that nobody measured.

    >>> times(1.5), times(float("nan"))
    ('1.50x', '-')
    """
    return "-" if isnan(ratio) else f"{ratio:.2f}x"


def ratio_bars(users: list[int], ratios: dict[str, list[float]], against: str, title: str = "") -> Figure:
    """Ratios by concurrency, one bar of each kind beside the other, none for a NaN; `CookbookError` for one concurrency."""
    if len(users) < 2:
        raise CookbookError("one concurrency is a number, not a figure", do="measure two or more")
    made, (axis,) = figure(width=7.5)
    width = 0.8 / len(ratios)
    for index, (name, values) in enumerate(ratios.items()):
        places = [place + (index - (len(ratios) - 1) / 2) * width for place in range(len(users))]
        grey, hatch = 0.4 + 0.5 * index / max(len(ratios) - 1, 1), ("", "//", "..")[index % 3]
        look: dict[str, Any] = {"color": str(grey), "hatch": hatch, "edgecolor": "black"}
        bars = axis.bar(places, values, width * 0.92, label=name, linewidth=0.6, **look)
        axis.bar_label(bars, ["" if isnan(value) else times(value) for value in values], fontsize="small")
    axis.axhline(1, color="0.2", linewidth=1)
    axis.set_xticks(range(len(users)), [str(one) for one in users])
    axis.set_xlabel("concurrency (requests in flight)")
    axis.set_ylabel(against)
    axis.legend(frameon=False, fontsize="small")
    if title:
        axis.set_title(title, fontsize="medium")
    return made
