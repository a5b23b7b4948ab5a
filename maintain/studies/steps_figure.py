"""Where a decode step spends its time: measured parts beside what the hardware needs for each at least."""

from typing import Any

from matplotlib.figure import Figure

from helpers.errors import CookbookError
from helpers.plots.style import figure
from maintain.studies.steps import GAPS, GROUPS, REST, StepProfile

ORDER = ["MoE", "attention", "dense GEMM", "all-reduce", "sampling", "copies", REST, GAPS]
GREYS = dict(zip(ORDER, ("0.25", "0.45", "0.62", "0.75", "0.85", "0.55", "0.92", "1.0"), strict=True))
HATCHES = dict(zip(ORDER, ("", "//", "..", "xx", "++", "**", "--", ""), strict=True))


def steps_figure(profiles: list[StepProfile], limits: list[dict[str, float]], title: str = "") -> Figure:
    """One panel per batch size, two bars each: the measured step by part, and the roofline of the parts that have one.

    Milliseconds on the axis, of every panel its own. `CookbookError` where there is only one batch size.
    """
    if len(profiles) < 2:
        raise CookbookError("one step compares with nothing", do="profile two batch sizes or more")
    made, axes = figure(columns=len(profiles), width=3.6 * len(profiles), height=4.6)
    drawn: dict[str, Any] = {}
    for axis, profile, limit in zip(axes, profiles, limits, strict=True):
        for place, parts in enumerate((profile.groups(), limit)):
            bottom = 0.0
            for name in [name for name in ORDER if parts.get(name)]:
                bars = axis.bar(
                    place,
                    parts[name],
                    0.62,
                    bottom=bottom,
                    color=GREYS[name],
                    hatch=HATCHES[name],
                    edgecolor="black",
                    linewidth=0.6,
                )
                drawn.setdefault(name, bars)
                bottom += parts[name]
            axis.text(place, bottom, f"{bottom:.2f} ms", ha="center", va="bottom", fontsize="small")
        axis.set_xticks([0, 1], ["measured", "roofline"])
        axis.set_title(f"batch {profile.batch}", fontsize="medium")
        axis.set_xlim(-0.6, 1.6)
        axis.margins(y=0.08)
    axes[0].set_ylabel("milliseconds of one decode step")
    known = [name for name in ORDER if name in drawn]
    made.legend(
        [drawn[name] for name in known], known, frameon=False, fontsize="small", ncols=4, loc="outside lower center"
    )
    if title:
        made.suptitle(title)
    return made


assert set(ORDER) == {*GROUPS, REST, GAPS}
