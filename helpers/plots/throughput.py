"""Throughput and TPOT against concurrency."""

from matplotlib.ticker import FuncFormatter

from helpers.errors import CookbookError
from helpers.plots.style import Drawing, figure, series
from helpers.records.record import Point


def grouped(points: list[Point]) -> dict[tuple[int, int], list[Point]]:
    """Points by input and output length, each group by rising concurrency."""
    groups: dict[tuple[int, int], list[Point]] = {}
    for point in sorted(points, key=lambda point: point.concurrency):
        groups.setdefault((point.input_tokens, point.output_tokens), []).append(point)
    return groups


def throughput_figure(points: list[Point], title: str = "") -> Drawing:
    """Output tok/s (left) and TPOT p50 with its p99 (right) against concurrency, one series per length.

    A roofline is drawn where the points carry one. Raises `CookbookError` for fewer than two concurrencies:
    one point is a number, not a curve.
    """
    groups = grouped(points)
    if max((len(group) for group in groups.values()), default=0) < 2:
        raise CookbookError(
            "a throughput figure needs at least two concurrencies",
            f"{len(points)} point(s) were measured",
            "pass e.g. concurrency=[1, 2, 4, 8]",
        )
    made, (rate, latency) = figure(columns=2)
    made.alt = f"{title}: output tok/s and TPOT p50 against concurrency. " + "; ".join(
        f"{point.concurrency} in flight: {point.output_tok_s:,.0f} tok/s, {point.tpot_ms.p50:.2f} ms"
        for group in groups.values()
        for point in group
    )
    for index, ((inputs, outputs), group) in enumerate(groups.items()):
        look, label = series(index), f"{inputs:,} in / {outputs:,} out"
        users = [point.concurrency for point in group]
        rate.plot(users, [point.output_tok_s for point in group], label=label, **look)
        latency.plot(users, [point.tpot_ms.p50 for point in group], label=f"{label}, p50", **look)
        faint = {**look, "linestyle": "", "markerfacecolor": "none", "alpha": 0.7}
        latency.plot(users, [point.tpot_ms.p99 for point in group], label=f"{label}, p99", **faint)
        bounds = [point.roofline_tok_s for point in group if point.roofline_tok_s]
        if len(bounds) == len(group):
            rate.plot(users, bounds, color="0.45", linestyle=(0, (1, 1)), label=f"roofline, {label}")
    ticks = sorted({point.concurrency for point in points})
    for axis in (rate, latency):
        axis.set_xscale("log", base=2)
        axis.set_xticks(ticks, [str(users) for users in ticks])
        axis.minorticks_off()
        axis.set_xlabel("concurrency (requests in flight)")
    rate.set_ylabel("throughput (output tok/s)")
    latency.set_ylabel("TPOT (ms per output token)")
    latency.set_ylim(0, 1.25 * max(point.tpot_ms.p99 for point in points))
    if any(point.roofline_tok_s for point in points):
        rate.set_yscale("log")  # the bound may lie far above the points
    else:
        rate.set_ylim(0, 1.15 * max(point.output_tok_s for point in points))
    rate.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for axis in (rate, latency):
        axis.legend(frameon=False, fontsize="small")
    if title:
        made.suptitle(title)
    return made
