"""Score against reasoning effort, and the tokens that each effort takes."""

from matplotlib.ticker import FuncFormatter

from helpers.errors import CookbookError
from helpers.evals.result import Result
from helpers.plots.style import Drawing, figure, series

EFFORTS = ("low", "medium", "high")


def percent(result: Result) -> tuple[float, float, float]:
    """A score and its distances to the ends of its 95 % interval, in percent."""
    assert result.score is not None and result.interval is not None, "only scored results are drawn"
    low, high = result.interval
    return 100 * result.score, 100 * (result.score - low), 100 * (high - result.score)


def evals_figure(results: list[Result], title: str = "") -> Drawing:
    """Left: score with its 95 % interval per effort, the reference as hollow markers. Right: output tokens per sample.

    Results without a score take no part. Raises `CookbookError` for scores at fewer than two efforts: one is a number.
    """
    scored = [result for result in results if result.score is not None]
    efforts = [effort for effort in EFFORTS if any(result.effort == effort for result in scored)]
    if len(efforts) < 2:
        why = f"{len(efforts)} reasoning effort(s) have a score"
        raise CookbookError("there is no curve to draw", why, "ask at two efforts or more; the table has the scores")
    names = list(dict.fromkeys(result.eval for result in scored))
    made, (left, right) = figure(columns=2)
    for index, name in enumerate(names):
        own = sorted((r for r in scored if r.eval == name), key=lambda r: EFFORTS.index(r.effort))
        look = series(index)
        places = [efforts.index(r.effort) + 0.06 * (index - (len(names) - 1) / 2) for r in own]
        scores, below, above = zip(*(percent(result) for result in own), strict=True)
        left.errorbar(places, scores, yerr=[below, above], capsize=3, label=name, **look)
        known = [(place, r) for place, r in zip(places, own, strict=True) if r.reference is not None]
        if known:
            left.plot(
                [place for place, _ in known],
                [100 * (r.reference or 0) for _, r in known],
                linestyle="",
                marker=look["marker"],
                markersize=12,
                markerfacecolor="none",
                markeredgecolor=look["color"],
                label=f"{name}, reference",
            )
        right.plot(places, [r.tokens_per_sample for r in own], label=name, **look)
    for axis in (left, right):
        axis.set_xticks(range(len(efforts)), efforts)
        axis.set_xlim(-0.3, len(efforts) - 0.7)
        axis.set_xlabel("reasoning effort")
        axis.legend(frameon=False, fontsize="small")
    left.set_ylabel("score (%), 95 % interval")
    left.set_ylim(0, 102)
    right.set_ylabel("output tokens per sample")
    right.set_ylim(bottom=0)
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    made.alt = f"{title}: score and output tokens per sample against reasoning effort. " + "; ".join(
        f"{r.eval} {r.effort}: {percent(r)[0]:.1f} %, {r.tokens_per_sample:,.0f} tokens" for r in scored
    )
    if title:
        made.suptitle(title)
    return made
