"""Routing balance: the share of experts that a decode step reads, by layer, for dummy and for balanced weights."""

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from helpers.errors import CookbookError
from helpers.plots.style import figure, series


def routing_figure(results: list[dict], title: str = "") -> Figure:
    """One panel per batch size, one series per kind of weights, dashed the share that uniform routing hits.

    `results` are the documents that `benchmarks.campaign.routing` writes. `CookbookError` where they differ in
    their batch sizes or are of different models.
    """
    shapes = {(result["layers"], result["experts"], result["experts_per_token"]) for result in results}
    batches = {tuple(row["batch"] for row in result["batches"]) for result in results}
    if len(shapes) != 1 or len(batches) != 1:
        raise CookbookError(
            "these routing measurements cannot share a figure",
            f"{len(shapes)} models and {len(batches)} lists of batch sizes",
            "measure the same model at the same batch sizes",
        )
    sizes = [size for size in batches.pop() if size > 1]  # one token always takes its k experts
    made, axes = figure(columns=len(sizes), width=4.6 * len(sizes))
    for axis, size in zip(axes, sizes, strict=True):
        for index, result in enumerate(results):
            row = next(row for row in result["batches"] if row["batch"] == size)
            look = series(index) | {"markersize": 3.5, "linewidth": 1.0}
            axis.plot(range(result["layers"]), row["share_by_layer"], label=f"{result['weights']} weights", **look)
        axis.axhline(row["expected_share"], color="0.3", linestyle=(0, (4, 2)), label="uniform routing")
        axis.set_ylim(0, 1.05)
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        axis.set_xlabel("layer")
        axis.set_title(f"{size} tokens per step", fontsize="medium")
    axes[0].set_ylabel(f"experts hit per step (of {results[0]['experts']})")
    axes[0].legend(frameon=False, fontsize="small", loc="center right")
    if title:
        made.suptitle(title)
    return made
