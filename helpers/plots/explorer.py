"""The explorer's figure: points of several records over any two of their figures, with what bounds and beats them."""

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from helpers.plots.pareto import front, pareto_figure
from helpers.plots.style import Drawing, figure, series
from helpers.records.anchors import Anchor
from helpers.records.record import Point

WHOLE = 5  # entries of a legend that stand in one column: published points, with short names, come after them
Axis = tuple[str, Callable[[Point], float]]  # label, value of a point


def explorer_figure(curves: dict[str, list[Point]], x: Axis, y: Axis) -> Drawing:
    """Curves by label over any two axes, each point with its concurrency."""
    made, (axis,) = figure(width=9, height=6)
    for index, (label, points) in enumerate(curves.items()):
        axis.plot([*map(x[1], points)], [*map(y[1], points)], label=label, **series(index))
        for point in points:
            near: dict[str, Any] = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": 7}
            axis.annotate(f"c{point.concurrency}", (x[1](point), y[1](point)), **near)
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axis.set_xlabel(x[0])
    axis.set_ylabel(y[0])
    below(axis)
    return made


def front_figure(
    curves: dict[str, list[Point]], anchors: Sequence[Anchor], least: float, marked: Point | None
) -> Drawing:
    """The Pareto figure of the curves with their common front as a broad grey line, a line at the `least` tok/s per user
    that is asked for, and a ring around the point that serves it best."""
    made = pareto_figure(curves, anchors, legend=below)
    (axis,) = made.axes
    best = sorted(front([point for points in curves.values() for point in points]), key=lambda p: p.tok_s_per_user)
    places = [p.tok_s_per_user for p in best], [p.output_tok_s_per_gpu for p in best]
    axis.plot(*places, color="0.8", linewidth=7, zorder=1)
    if least:
        axis.axvline(least, color="0.3", linewidth=1, linestyle="--")
    if marked:
        ring: dict[str, Any] = {"ms": 15, "mfc": "none", "mec": "black", "mew": 2}
        axis.plot(marked.tok_s_per_user, marked.output_tok_s_per_gpu, "o", zorder=5, **ring)
    return made


def below(axis: Axes) -> None:
    """The legend under the axes: records have long names."""
    columns = 2 if len(axis.get_legend_handles_labels()[1]) > WHOLE else 1
    axis.legend(frameon=False, fontsize="x-small", loc="upper left", bbox_to_anchor=(-0.04, -0.1), ncols=columns)
