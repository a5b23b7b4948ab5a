"""`notebooks/studies/levers.ipynb`: what each lever gave beside the recipe and beside bare vLLM, all of it from records."""

import json
from math import nan
from pathlib import Path

import jinja2
import nbformat
from nbformat import NotebookNode

from helpers.paths import NOTEBOOKS
from helpers.plots.recorded import Recorded
from helpers.plots.style import figure, series
from helpers.recipes import load_target
from helpers.records.curves import evidence_file
from maintain.pages.levers.aims import aimed
from maintain.pages.levers.rows import (
    BARE,
    BASE,
    BOTH,
    LENGTHS,
    SHORT,
    Lever,
    accepted,
    beside,
    elsewhere,
    levers,
    measured,
    pairs,
    ratio,
    step_ms,
)
from maintain.pages.levers.tables import before, break_even, distances, gave, memory, nano, routed, rows_of
from maintain.pages.notebook import keep_outputs
from maintain.pages.pages import fill
from maintain.pages.study import from_source
from maintain.studies.recorded import ratio_bars, times

PAGE = NOTEBOOKS / "studies" / "levers.ipynb"
TEMPLATE = Path(__file__).with_name("page.py.jinja")


def drawn(found: dict[str, Lever]) -> dict[str, str]:
    """The levers with two concurrencies or more in common with what each is held against, which is the value."""
    others = (name for name in found if name not in (BARE, SHORT[BASE]) and not elsewhere(name))
    bases = {name: beside(found, name) for name in others}
    return {name: base for name, base in bases.items() if base and len(pairs(found, name, base)) > 1}


def gains(target: str, model: str) -> Recorded:
    """The speed of one user under each lever, as a ratio to what ran on the same host."""
    found = levers(target, model)
    bases = drawn(found)
    both = {name: pairs(found, name, base) for name, base in bases.items()}
    users = sorted(set.union(*(set(points) for points in both.values())))
    several = len(set(bases.values())) > 1
    ratios = {
        f"{name} / {bases[name]}" if several else name: [
            ratio(*points[n], "tpot_ms") if n in points else nan for n in users
        ]
        for name, points in both.items()
    }
    base = "what ran on its host" if several else next(iter(bases.values()))
    title = (
        f"{model} on {load_target(target).title}, {LENGTHS[0]:,}/{LENGTHS[1]:,} tokens: one user's tok/s against {base}"
    )
    lines = [title, f"concurrency, {', '.join(ratios)}"]
    lines += [f"  {n:4} " + " ".join(times(values[at]) for values in ratios.values()) for at, n in enumerate(users)]
    return Recorded(lines, lambda: ratio_bars(users, ratios, f"tok/s of one user / {base}", title))


def steps(target: str, model: str) -> dict[int, tuple[float, float, float]]:
    """By concurrency: ms of a step that verifies, tokens that it gave, ms of a token in what it is compared with."""
    found = levers(target, model)
    both = pairs(found, BOTH, beside(found, BOTH))
    return {n: (step_ms(one), accepted(one), base["tpot_ms"]) for n, (one, base) in both.items()}


def acceptance(target: str, model: str) -> Recorded:
    """The gain against the tokens that a step gives: a step takes as long whatever is accepted, so one measurement says all."""
    found, every = steps(target, model), levers(target, model)
    base = beside(every, BOTH)
    title = f"{model} on {load_target(target).title}: {BOTH} against {base}"
    lines = [
        title,
        "concurrency, step ms, tokens a step that were measured, gain at 1, 2, 3, 4 tokens a step, breaks even at",
    ]
    for users, (step, given, plain) in found.items():
        gain = " ".join(f"{plain * tokens / step:.2f}x" for tokens in (1, 2, 3, 4))
        lines.append(f"  {users:4} {step:6.2f} {given:.2f} {gain} {max(step / plain, 1):.2f}")
    more = [
        (users, accepted(one), found[users][2] / one["tpot_ms"])
        for name in filter(elsewhere, every)
        for users, one in every[name].items()
        if users in found
    ]
    if more:
        lines.append("runs with another acceptance: concurrency, tokens a step, gain, what the line above says")
    for users, given, gained in more:
        lines.append(f"  {users:4} {given:.2f} {gained:.2f}x {found[users][2] * given / found[users][0]:.2f}x")

    def draw():
        made, (axis,) = figure(width=7.5)
        for index, (users, (step, given, plain)) in enumerate(found.items()):
            look = series(index)
            axis.plot([1, 4], [plain / step, plain * 4 / step], **{**look, "marker": ""})
            axis.plot([], [], label=f"{users} in flight", **look)
            marks = [(given, plain * given / step), *((at, gained) for n, at, gained in more if n == users)]
            axis.plot(*zip(*marks, strict=True), color=look["color"], marker=look["marker"], linestyle="")
        axis.axhline(1, color="0.2", linewidth=1)
        axis.set_xlabel("tokens a step, the model's own included (marks: measured; lines: the same step)")
        axis.set_ylabel(f"tok/s of one user / {base}")
        axis.legend(frameon=False, fontsize="small")
        axis.set_title(title, fontsize="medium")
        return made

    return Recorded(lines, draw)


def stepped() -> list[tuple[str, str]]:
    """(target, model) of each whose decode step was taken apart with FP8 activations and without, by one vLLM."""

    def versions(*where: str) -> list[str]:
        files = [evidence_file(*where, what) for what in ("steps-triton", "steps-fp8")]
        return [json.loads(file.read_text())["vllm"] for file in files if file.exists()]

    return [one for one in measured() if len(found := versions(*one)) == 2 and len(set(found)) == 1]


def render() -> NotebookNode:
    """The page as it should be on disk."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["comment"] = lambda text: text.replace("\n", "\n# ")
    measurements = [
        (t, m, load_target(t).title, "\n\n".join(filter(None, [rows_of(t, m), before(t, m)])), BOTH in levers(t, m))
        for t, m in measured()
    ]
    text = environment.from_string(TEMPLATE.read_text()).render(
        measurements=measurements,
        break_even=break_even(),
        distances=distances(),
        routed=routed(),
        aimed=aimed(),
        memory=memory(),
        nano=nano(),
        gave=gave,
        stepped=stepped(),
    )
    new = from_source(text)
    return fill(keep_outputs(new, nbformat.read(PAGE, as_version=4)) if PAGE.exists() else new)
