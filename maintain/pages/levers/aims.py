"""What the study of levers set out to reach, beside what its records show."""

from statistics import median
from typing import Any

from helpers.pages.markdown import row, table
from helpers.recipes import load_target
from helpers.records.curves import load_records
from maintain.pages.levers.rows import (
    BARE,
    BASE,
    BOTH,
    MODELS,
    SHORT,
    elsewhere,
    levers,
    measured,
    pairs,
    ratio,
    same_host,
)
from maintain.studies.runs import again

USER_TOK_S = 50  # the speed of one user at which throughput is compared
# What this study set out to reach, per model: (20b, 120b). Ratios are to bare vLLM.
AIMS = {
    "fp8": (1.3, 1.5),
    "speculative": (2.0, 2.0),
    "reference": (1.1, 1.1),
    "most": (23_000, 10_000),
    "at_50": (18_000, 4_500),
    "start": (60, 90),  # s until a server that was started here before is ready
}


FLOOR = 0.98  # of bare vLLM, nowhere below it with the model's own arithmetic
NOISE = 0.1  # runs that lie further apart decide no aim


def apart(one: dict[str, Any], key: str) -> float:
    """How far the runs of a row lie apart, as a share of the middle one."""
    values = [take[key] for take in one["takes"]]
    return (max(values) - min(values)) / median(values)


def doubt(one: dict[str, Any], other: dict[str, Any], key: str) -> str:
    """Why the ratio of two rows decides nothing; "" where it does."""
    if not same_host(one, other):
        return " *"
    spread = max(apart(row, key) for row in (one, other))
    return f", runs {spread:.0%} apart" if spread > NOISE else ""


def verdict(value: float, aim: float, form: str = "{:.2f}x", note: str = "", most: bool = False) -> str:
    """A figure beside its aim, which is the least that it may be, or the `most`."""
    met = value <= aim if most else value >= aim
    return f"{form.format(value)}{note}; aim {form.format(aim)}, {'reached' if met else '**missed**'}"


def start(target: str, model: str) -> str:
    """The shortest second start of a command on one host, beside its aim."""
    took = [record.startup_s["total"] for record in load_records(target) if record.model == model and again(record)]
    return verdict(min(took), AIMS["start"][MODELS.index(model)], "{:.0f} s", most=True) if took else "not measured"


def aims(target: str, model: str) -> list[str]:
    """Each aim with the worst figure in its range, or that nothing was measured for it."""
    found, at = levers(target, model), MODELS.index(model)

    def worst(name: str, key: str, users: range) -> str:
        both = [(ratio(one, bare, key), one, bare) for n, (one, bare) in pairs(found, name, BARE).items() if n in users]
        if not both:
            return "not measured beside bare `vllm serve`"
        kind = {"FP8": "fp8", SHORT[BASE]: "reference"}.get(name, "speculative")
        open_ = {pair[1]["concurrency"]: doubt(*pair[1:], key) for pair in both}
        value, one, _ = min(both, key=lambda pair: pair[0])
        least = f"{value:.2f}x at {one['concurrency']}{open_[one['concurrency']]}"
        decided = [pair for pair in both if not open_[pair[1]["concurrency"]]]
        if not decided:
            return f"{least}; aim {AIMS[kind][at]:.2f}x, not decided"
        sure, point, _ = min(decided, key=lambda pair: pair[0])
        beside = f" ({least})" if value < sure else ""
        floor = f"; floor {FLOOR}x, {'held' if sure >= FLOOR else '**not held**'}" if kind == "reference" else ""
        return verdict(sure, AIMS[kind][at], note=f" at {point['concurrency']}") + floor + beside

    every = [one for name, points in found.items() if not elsewhere(name) for one in points.values()]

    def most(rows: list[dict], aim: str) -> str:
        """The row with the most, beside the aim, which is one of an H200."""
        top = max(rows, key=lambda one: one["output_tok_s"])
        note = f" at {top['concurrency']}"
        if target != "h200":
            return f"{top['output_tok_s']:,.0f} tok/s{note}"
        return verdict(top["output_tok_s"], AIMS[aim][at], "{:,.0f} tok/s", note)

    return [
        worst("FP8", "output_tok_s", range(64, 10**6)),
        worst(BOTH, "tpot_ms", range(1, 17)),
        worst(SHORT[BASE], "output_tok_s", range(1, 10**6)),
        most(every, "most"),
        most([one for one in every if 1e3 / one["tpot_ms"] >= USER_TOK_S], "at_50"),
        start(target, model),
    ]


def aimed() -> str:
    """The aims of the study and what came of each, one row for a machine and model."""
    columns = [
        "",
        "FP8, output tok/s, 64 in flight and more",
        "FP8 + EAGLE3, tok/s of one user, 1 to 16 in flight",
        "throughput profile, output tok/s",
        "most output tok/s of a GPU",
        f"most output tok/s with at least {USER_TOK_S} for each user",
        "second start of the `throughput` profile",
    ]
    return table(columns, [row(f"{m} on {load_target(t).title}", *aims(t, m)) for t, m in measured()])
