"""The throughput part of a run: the load that is sent, the sweep, its table, and what a reader takes from it."""

import shlex
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

from helpers.bench.client import bench_words
from helpers.bench.sweep import Load, plan, sampling
from helpers.records.record import Point

FOR_FILES = ("--save-detailed", "--ready-check-timeout-sec", "--num-warmups")  # a sweep's own; they change no figure
PAYS = 0.5  # below this share of a proportional gain in tok/s, more requests in flight mostly wait for each other


def loads(run: Any) -> list[Load]:
    """What the sweep of a run sends, a point for each concurrency."""
    p = run.measured.parameters
    return plan(p.concurrency, p.input_tokens, p.output_tokens)


def load_command(run: Any) -> str:
    """The line for a terminal behind the last point of a run's sweep: its settings, without what only files need."""
    load, asks = loads(run)[-1], sampling(run.measured.weights)
    local = run.checkpoints.get(run.measured, run.measured.model.model)
    words = bench_words(
        run.server.base_url if run.server else f"http://127.0.0.1:{run.port}",
        run.measured.model.model,
        run.measured.model.hub_id if run.measured.weights == "hub" else local,
        load.model_dump(),
        prompts=load.prompts,
        output_tokens=load.output_tokens,
        seed=asks["seed"] or 0,
        temperature=asks["temperature"],
    )
    shown = [word for word in words if not word.startswith(FOR_FILES)]
    return " \\\n    ".join(["vllm bench serve", *map(shlex.quote, shown)])


def measure(run: Any) -> list[Point]:
    """The sweep of a run (`vllm bench serve`, each point warmed up at its own concurrency); its points.

    Weights that cannot speak are served here in place of gpt-oss-nano, which answered the contracts.
    """
    from helpers.bench.roofline import roofline
    from helpers.bench.sweep import sweep

    p, model = run.measured.parameters, run.measured.model
    limit = roofline(model, run.measured.target.device, p.tensor_parallel_size, p.replicas)
    no_bound = run.measured.weights == "nano" or run.measured.speculates
    return sweep(
        run.server.base_url,
        model.model,
        run.checkpoints[run.measured],
        run.interpreter,
        loads(run),
        run.folder,
        worker=run.load_client(),
        **sampling(run.measured.weights),
        gpus=p.tensor_parallel_size * p.replicas,
        tag=run.server.lease.fingerprint,
        roofline=None if no_bound else limit,
    )


def points_table(points: Sequence[Point]) -> Any:
    """The points of a sweep as a data frame, a row for each concurrency."""
    import pandas as pd

    rows = [
        {
            "concurrency": p.concurrency,
            "output tok/s": p.output_tok_s,
            "TTFT p50 (ms)": p.ttft_ms.p50,
            "TTFT p90 (ms)": p.ttft_ms.p90,
            "TPOT p50 (ms)": p.tpot_ms.p50,
            "TPOT p99 (ms)": p.tpot_ms.p99,
            "tok/s per user": p.tok_s_per_user,
        }
        for p in points
    ]
    return pd.DataFrame(rows).set_index("concurrency").round(1)


def knee(points: Sequence[Point]) -> Point:
    """The last point that more requests in flight paid for: its step from the point before gave at least `PAYS` of what a
    proportional gain in output tok/s would have been. `points` rise in concurrency.

    The last and not the first: a mixture of experts gains little while a few more requests touch more experts.
    """
    best = points[0]
    for before, after in pairwise(points):
        gain = (after.output_tok_s / before.output_tok_s - 1) / (after.concurrency / before.concurrency - 1)
        best = after if gain >= PAYS else best
    return best


def takeaways(points: Sequence[Point]) -> str:
    """Where the sweep's knee is and what one user feels there, in words; nothing but the points goes in."""
    ordered = sorted(points, key=lambda point: point.concurrency)
    at, first, last = knee(ordered), ordered[0], ordered[-1]
    user = f"TTFT {at.ttft_ms.p50:,.0f} ms, then {at.tok_s_per_user:,.0f} tok/s"
    if len(ordered) == 1:
        return f"At concurrency {at.concurrency} the server gives {at.output_tok_s:,.0f} output tok/s; one user sees {user}."
    share = at.tok_s_per_user / first.tok_s_per_user
    if at is last:
        where = f"Throughput still rises at {at.concurrency} requests in flight, the most that were tried"
        feels = f"At {at.concurrency} one user sees {user}"
    else:
        more, gain = last.concurrency / at.concurrency, last.output_tok_s / at.output_tok_s
        flight = "1 request" if at.concurrency == 1 else f"{at.concurrency} requests"
        where = f"The knee is at {flight} in flight: {more:.3g} times as many gave {gain:.3g} times the output tok/s"
        feels = f"At the knee one user sees {user}"
    alone = f", {share:.0%} of the speed at concurrency {first.concurrency}" if at is not first else ""
    return f"{where}.\n{feels}{alone}; the server gives {at.output_tok_s:,.0f} output tok/s."


def import_ahead() -> None:
    """Import what the cells after the launch need: two seconds, better spent on the core that a start of vLLM leaves idle."""
    for module in ("openai", "pandas.io.formats.style", "helpers.plots.throughput", "mcp.server", "uvicorn"):
        import_module(module)
