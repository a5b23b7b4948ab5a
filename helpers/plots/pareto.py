"""Throughput against speed per user: output tok/s per GPU over tok/s per user, with the physical limit."""

from collections.abc import Callable, Container, Sequence
from itertools import pairwise, product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from helpers.errors import CookbookError
from helpers.plots.style import Drawing, figure, series
from helpers.records.anchors import Anchor
from helpers.records.record import Point

ANCHOR_MARKERS = ["*", "P", "X", "h", "d", "<", ">"]
AWAY = (4, 7, 11)  # points between a mark and its label
Dots = list[tuple[float, float]]
SIDES = ((-1, -1), (1, 1), (1, -1), (-1, 1), (0, -1), (0, 1), (-1, 0), (1, 0))  # of the mark, the first that is free


def front(points: list[Point]) -> list[Point]:
    """The points that no other point beats both in tok/s per GPU and in tok/s per user."""
    return [
        point
        for point in points
        if not any(
            other.output_tok_s_per_gpu >= point.output_tok_s_per_gpu
            and other.tok_s_per_user >= point.tok_s_per_user
            and (other.output_tok_s_per_gpu, other.tok_s_per_user) != (point.output_tok_s_per_gpu, point.tok_s_per_user)
            for other in points
        )
    ]


def draw_series(axis: Axes, label: str, points: list[Point], look: dict, faint: bool = False) -> None:
    """One configuration's points and, unless it is `faint`, its roofline."""
    points = sorted(points, key=lambda point: point.concurrency)
    axis.plot(
        [point.tok_s_per_user for point in points],
        [point.output_tok_s_per_gpu for point in points],
        label=label,
        alpha=0.45 if faint else 1.0,
        **look,
    )
    limited = [(point, point.roofline_tok_s) for point in points if point.roofline_tok_s and not faint]
    if len(limited) > 1:
        axis.plot(
            [bound / point.concurrency for point, bound in limited],
            [bound * point.output_tok_s_per_gpu / point.output_tok_s for point, bound in limited],
            color=look["color"],
            linestyle=(0, (1, 1.5)),
            linewidth=1.2,
            alpha=0.8,
            label=f"roofline, {label}",
        )


def label_points(made: Drawing, axis: Axes, labelled: list[tuple[Point, str]]) -> None:
    """Each point's concurrency and its fraction of the roofline, in a colour, at the free place nearest to its mark.

    Call it last: it needs the axes' limits and what is drawn.
    """
    made.draw_without_rendering()
    unit, legend = made.dpi / 72, axis.get_legend()
    taken = [text.get_window_extent() for text in axis.texts] + ([legend.get_window_extent()] if legend else [])
    ink = [dot for line in axis.lines for dot in ink_of(line)]
    style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": 6.5}
    for point, colour in labelled:
        fraction = f"\n{point.roofline_fraction:.0%}" if point.roofline_fraction else ""
        mark = (point.tok_s_per_user, point.output_tok_s_per_gpu)
        text = axis.annotate(f"c{point.concurrency}{fraction}", mark, xytext=(0, 0), color=colour, **style)
        over = text.get_window_extent()
        place = free_place(over, unit, taken, ink, axis.get_window_extent())
        text.set_position(((place.x0 - over.x0) / unit, (place.y0 - over.y0) / unit))
        taken.append(place)


def free_place(over: Bbox, unit: float, taken: list[Bbox], ink: Dots, inside: Bbox) -> Bbox:
    """Where a label that would lie `over` its mark goes, in pixels: `inside` the axes, on none of the boxes `taken`, on little
    `ink` and near. `unit`: the pixels of a point."""

    def cost(place: Bbox, away: float) -> tuple[int, float]:
        outside = not (inside.contains(place.x0, place.y0) and inside.contains(place.x1, place.y1))
        return place.count_overlaps(taken) + outside, place.padded(unit).count_contains(ink) + away

    found = [
        (over.translated(right * (over.width / 2 + away * unit), up * (over.height / 2 + away * unit)), away)
        for away, (right, up) in product(AWAY, SIDES)
    ]
    return min(found, key=lambda one: cost(*one))[0]


def ink_of(line: Line2D) -> Dots:
    """Pixels that a line and its marks cover, one every few, each mark four times: (x, y) on the canvas."""
    corners = line.get_transform().transform(line.get_xydata()).tolist()
    marks = corners * 4 if line.get_marker() != "None" else []
    drawn = [] if line.get_linestyle() == "None" else pairwise(corners)
    return marks + [(x + (u - x) * k / 60, y + (v - y) * k / 60) for (x, y), (u, v) in drawn for k in range(61)]


def draw_anchors(axis: Axes, anchors: list[Anchor]) -> None:
    """Published points in grey; those without a speed per user as a level at the axis."""
    groups: dict[str, list[Anchor]] = {}
    for anchor in anchors:
        groups.setdefault(anchor.label, []).append(anchor)
    levels = 0
    for index, (label, group) in enumerate(sorted(groups.items())):
        placed = [anchor for anchor in group if anchor.tok_s_per_user]
        if placed:
            axis.plot(
                [anchor.tok_s_per_user or 0 for anchor in placed],
                [anchor.output_tok_s_per_gpu for anchor in placed],
                linestyle="",
                marker=ANCHOR_MARKERS[index % len(ANCHOR_MARKERS)],
                markersize=7,
                color="0.35",
                markerfacecolor="none",
                label=f"published: {label}",
            )
        for anchor in group:
            if not anchor.tok_s_per_user:
                levels += 1
                axis.axhline(anchor.output_tok_s_per_gpu, color="0.5", linewidth=0.8, linestyle="--")
                axis.annotate(
                    f"published: {label}, offline {anchor.output_tok_s_per_gpu:,.0f}",
                    (0.99, anchor.output_tok_s_per_gpu),
                    xycoords=("axes fraction", "data"),
                    ha="right",
                    textcoords="offset points",
                    xytext=(0, 3),
                    fontsize=6.5,
                    color="0.35",
                )


def in_a_corner(axis: Axes) -> None:
    """The legend where no curve goes."""
    axis.legend(frameon=False, fontsize="x-small", loc="lower left")


def pareto_figure(
    measured: dict[str, list[Point]],
    anchors: Sequence[Anchor] = (),
    title: str = "",
    faint: Container[str] = (),
    legend: Callable[[Axes], None] = in_a_corner,
) -> Drawing:
    """Output tok/s per GPU against tok/s per user (1000 / TPOT p50), both logarithmic.

    `measured` maps a configuration's label ("TP2") to its points of one pair of lengths. Every point carries
    its concurrency and, where known, the fraction of its roofline, but for the labels in `faint`. `CookbookError` where
    there is no curve.
    """
    if max((len(points) for points in measured.values()), default=0) < 2:
        raise CookbookError(
            "this figure needs a configuration with at least two points", do="measure several concurrencies"
        )
    lengths = {(point.input_tokens, point.output_tokens) for points in measured.values() for point in points}
    if len(lengths) > 1:
        raise CookbookError(f"points of several lengths {sorted(lengths)} cannot share this figure", do="draw one each")
    made, (axis,) = figure(width=9, height=6)
    labelled = []
    for index, (label, points) in enumerate(measured.items()):
        draw_series(axis, label, points, series(index), faint=label in faint)
        labelled += [(point, series(index)["color"]) for point in points if label not in faint]
    draw_anchors(axis, list(anchors))
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.margins(y=0.12)  # room for the labels below the lowest points
    axis.set_xlabel("speed for one user (output tok/s, 1000 / TPOT p50)")
    axis.set_ylabel("throughput (output tok/s per GPU)")
    plain = FuncFormatter(lambda value, _: f"{value:,.0f}")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(LogLocator(subs=(1, 2, 5)))
        side.set_major_formatter(plain)
        side.set_minor_formatter(NullFormatter())
    axis.grid(True, which="minor", alpha=0.12)
    if title:
        axis.set_title(title, fontsize="medium")
    legend(axis)
    label_points(made, axis, labelled)
    return made
