"""What a tuning found: ratios to bare `vllm serve` over concurrency; and starts by phase."""

import textwrap
from collections.abc import Sequence

from helpers.bench.startup import Start
from helpers.bench.tune.choice import WORST, verdicts
from helpers.bench.tune.plan import changed
from helpers.bench.tune.study import Study
from helpers.errors import CookbookError
from helpers.plots.style import Drawing, figure, series

LABEL = 42  # characters on a line beside a bar
BEST = 6  # configurations drawn; more would not stay apart in grey
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "oo", "++", "**")


def ratio_figure(study: Study) -> Drawing:
    """Each measured configuration's ratio to bare at every concurrency, the best ones where there are many.

    Raises `CookbookError` for a sweep of one concurrency, or a study without a measured configuration.
    """
    measured = [verdict for verdict in verdicts(study) if verdict.ratios]
    if len(study.users_per_gpu) < 2 or not measured:
        raise CookbookError(
            "there is no curve to draw",
            f"{len(measured)} configurations were measured at {len(study.users_per_gpu)} concurrencies",
            "tune with two concurrencies or more",
        )
    measured.sort(key=lambda verdict: -max(verdict.gain or 0, 0))
    made, (axis,) = figure(height=4.6)
    for index, verdict in enumerate(measured[:BEST]):
        name = changed(verdict.trial.values) + (" (chosen)" if verdict.state == "chosen" else "")
        axis.plot(study.users_per_gpu, verdict.ratios, label=name, **series(index))
    axis.axhline(1, color="0.2", linewidth=1)
    axis.axhline(WORST, color="0.5", linewidth=1, linestyle=(0, (1, 2)), label=f"{WORST}x: below it, not chosen")
    axis.set_xscale("log", base=2)
    axis.set_xticks(study.users_per_gpu, [str(users) for users in study.users_per_gpu])
    axis.minorticks_off()
    per_gpu = " per GPU" if study.goal.per_gpu and max(v.trial.gpus for v in measured) > 1 else ""
    axis.set_xlabel(f"concurrency (requests in flight{per_gpu})")
    what = "1 / TPOT" if study.objective == "latency" else "output tok/s per GPU"
    axis.set_ylabel(f"{what}\n(ratio to bare vllm serve)")
    axis.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15))
    title = f"{study.model} ({study.weights} weights) on {study.target}, vLLM {study.versions.get('vllm', '?')}"
    made.suptitle(title)
    made.alt = f"{title}: {what}, ratio to bare vllm serve. " + "; ".join(
        f"{changed(verdict.trial.values)}: "
        + ", ".join(f"{ratio:.2f} at {users}" for ratio, users in zip(verdict.ratios, study.users_per_gpu, strict=True))
        for verdict in measured[:BEST]
    )
    return made


def startup_figure(starts: Sequence[tuple[str, Start]], until: str = "the first streamed token") -> Drawing:
    """Each start as a bar of its phases, in seconds; two starts or more, since one bar compares nothing."""
    if len(starts) < 2:
        raise CookbookError("one start compares with nothing", do="measure two or more")
    labels = [textwrap.fill(name, LABEL, break_on_hyphens=False) for name, _ in starts]
    made, (axis,) = figure(height=1.4 + 0.28 * sum(label.count("\n") + 2 for label in labels))
    names = list(dict.fromkeys(name for _, start in starts for name in start.phases))
    left = [0.0] * len(starts)
    for index, name in enumerate(names):
        values = [start.phases.get(name, 0.0) for _, start in starts]
        grey = str(0.35 + 0.55 * index / max(len(names) - 1, 1))
        axis.barh(
            range(len(starts)),
            values,
            left=left,
            color=grey,
            edgecolor="black",
            linewidth=0.6,
            hatch=HATCHES[index % len(HATCHES)],
            label=name,
        )
        left = [before + value for before, value in zip(left, values, strict=True)]
    for place, total in enumerate(left):
        axis.text(total, place, f" {total:.0f} s", va="center")
    axis.set_xlim(0, 1.12 * max(left))
    axis.set_yticks(range(len(starts)), labels)
    axis.invert_yaxis()
    axis.set_xlabel(f"seconds from the launch to {until}")
    made.alt = f"Seconds from the launch to {until}, by phase. " + "; ".join(
        f"{name}: " + ", ".join(f"{phase} {seconds:.0f}" for phase, seconds in start.phases.items())
        for name, start in starts
    )
    made.legend(frameon=False, fontsize="small", ncols=5, loc="outside lower center")
    return made
