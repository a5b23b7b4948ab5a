"""Sweeps over concurrency: `vllm bench serve` through the stack's interpreter, one point after the other."""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

from pydantic import BaseModel, Field, ValidationError

from helpers.bench.worker import STALL_S, LoadWorker
from helpers.errors import CookbookError, UsageError
from helpers.progress import bar
from helpers.records.record import Percentiles, Point, first_problem

PROMPTS_PER_USER = 3  # at least three waves, so that the first and the last weigh little
PROMPTS_PER_USER_LARGE = 2  # from LARGE users on, a wave is long enough
LARGE = 512
TAKES = 3  # so often at most is a point measured whose figures contradict each other: a busy client reads in bursts


class Load(BaseModel):
    """What one point sends: `concurrency` requests in flight until `prompts` are done."""

    concurrency: Annotated[int, Field(gt=0)]
    input_tokens: Annotated[int, Field(gt=0)]
    output_tokens: Annotated[int, Field(gt=1)]  # TPOT needs a second token
    prompts: Annotated[int, Field(gt=0)]
    warmup_prompts: Annotated[int, Field(ge=0)] | None = None  # as many as the concurrency unless given
    warmup_output_tokens: Annotated[int, Field(gt=0)] | None = None
    shared_tokens: Annotated[int, Field(gt=0)] | None = None  # of the input, the same first ones in every prompt


class Sampling(TypedDict):
    """How the load client asks: its temperature and the seed of its prompts; None draws fresh ones."""

    temperature: float
    seed: int | None


def sampling(weights: str) -> Sampling:
    """How a load on this kind of weights asks.

    gpt-oss-nano may fall into tokens without text past its answer's end: greedy and seeded it does not.
    """
    return Sampling(temperature=0.0, seed=5) if weights == "nano" else Sampling(temperature=1.0, seed=None)


def plan(concurrency: list[int], input_tokens: int, output_tokens: int, **warmup) -> list[Load]:
    """The loads of a sweep, with at least three prompts per user (two from 512 users on)."""
    if not concurrency or any(not isinstance(users, int) or users < 1 for users in concurrency):
        raise UsageError(f"concurrency {concurrency} is no list of positive whole numbers", do="pass e.g. [1, 4, 16]")
    return [
        Load(
            concurrency=users,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            prompts=users * (PROMPTS_PER_USER_LARGE if users >= LARGE else PROMPTS_PER_USER),
            **warmup,
        )
        for users in dict.fromkeys(concurrency)
    ]


def point_of(result: dict, gpus: int = 1, roofline_tok_s: float | None = None) -> Point:
    """A throughput point from vLLM's result JSON."""

    def milliseconds(metric: str) -> Percentiles:
        return Percentiles(
            **{name: result[f"{name}_{metric}_ms"] for name in ("p50", "p90", "p99")}, mean=result[f"mean_{metric}_ms"]
        )

    settings = result["cookbook"]["settings"]
    rate, tpot = result["output_throughput"], result["p50_tpot_ms"]
    try:
        return Point(
            concurrency=settings["concurrency"],
            input_tokens=settings["input_tokens"],
            output_tokens=settings["output_tokens"],
            prompts=settings["prompts"],
            duration_s=result["duration"],
            output_tok_s=rate,
            output_tok_s_per_gpu=rate / gpus,
            tok_s_per_user=1e3 / tpot,
            ttft_ms=milliseconds("ttft"),
            tpot_ms=milliseconds("tpot"),
            itl_ms=milliseconds("itl"),
            e2e_ms=milliseconds("e2el"),
            roofline_tok_s=roofline_tok_s,
            roofline_fraction=None if roofline_tok_s is None else rate / roofline_tok_s,
        )
    except ValidationError as error:
        raise CookbookError(
            f"the point at concurrency {settings['concurrency']} is not plausible",
            first_problem(error),
            "measure it again on a machine that is not busy with something else",
        ) from None


def line_of(point: Point) -> str:
    """One line about a finished point."""
    return (
        f"concurrency {point.concurrency:>4}  {point.input_tokens}/{point.output_tokens} tokens  "
        f"{point.output_tok_s:>9,.1f} tok/s  TTFT {point.ttft_ms.p50:>8,.1f} ms  TPOT {point.tpot_ms.p50:>7,.2f} ms"
    )


class Console:
    """Progress for a person: a line per finished point, before it a bar of the warm-up's requests, then of the load's."""

    def __init__(self, say: Callable[[str], object] | None = None) -> None:
        self.say, self.shown = say or partial(print, flush=True), ""
        self.bar: Any = None

    def __call__(self, event: dict) -> None:
        kind = event["event"]
        if self.bar is not None and kind != self.shown:
            self.bar = self.bar.close()
        if kind == "point":
            self.say(line_of(event["measured"]) + ("  (kept)" if event["skipped"] else ""))
        elif kind == "implausible":
            self.say(f"measured again: {event['why']}")
        elif kind in ("warmup", "progress"):
            self.shown = kind
            self.bar = self.bar or bar("warm-up" if kind == "warmup" else "load", event["of"], " requests")
            self.bar.update(event["done"] - self.bar.n)


def silent(event: dict) -> None:
    """No progress."""


def sweep(
    base_url: str,
    model: str,
    tokenizer: str | Path,
    interpreter: str | Path,
    points: list[Load],
    out_dir: str | Path,
    *,
    gpus: int = 1,
    tag: str = "",
    temperature: float = 1.0,
    seed: int | None = None,
    roofline: Callable[[Load], float | None] | None = None,
    worker: LoadWorker | None = None,
    api_key: str | None = None,
    progress: Callable[[dict], None] | None = None,
    stall_s: float = STALL_S,
    timeout_s: float | None = None,
) -> list[Point]:
    """Measure every load against a running server; results stay in `out_dir/bench/`, one file per point.

    Points already there with the same settings and `tag` (say what the server runs) are kept, so that an
    interrupted sweep goes on where it stopped. `roofline` maps a load to its bound in output tok/s over all
    GPUs. A point whose figures contradict each other is measured again, at most `TAKES` times in all. Raises
    `CookbookError` when it never agrees, a request fails, the client dies, or nothing happens for `stall_s`.
    """
    if not points:
        raise UsageError("the sweep has no points", do="pass at least one concurrency")
    out_dir = Path(out_dir).resolve()
    request = {
        "base_url": base_url,
        "model": model,
        "tokenizer": str(tokenizer),
        "out": str(out_dir),
        "tag": tag,
        "temperature": temperature,
        "seed": seed,
    }
    progress = progress or Console()
    own = None
    if worker is None:
        worker = own = LoadWorker(Path(interpreter), out_dir / "bench" / "load.log", api_key)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    measured: dict[int, Point] = {}
    try:
        for event in _takes(worker, request, points, stall_s, gpus, roofline):
            if "measured" in event:
                measured[event["index"]] = event["measured"]
            progress(event)
            if deadline is not None and time.monotonic() > deadline and event["event"] != "done":
                raise CookbookError(
                    f"the sweep was stopped after {timeout_s:.0f} s",
                    f"{len(measured)} of {len(points)} points were done",
                    "re-run to go on after them, or ask for fewer points",
                )
    finally:
        if own is not None:
            own.close()
    return [measured[index] for index in range(len(points))]


def _takes(
    worker: LoadWorker,
    request: dict,
    points: list[Load],
    stall_s: float,
    gpus: int,
    roofline: Callable[[Load], float | None] | None,
) -> Iterator[dict]:
    """The client's events for all points, then for those whose figures contradicted each other, at most `TAKES` times.

    A finished point's event holds it as `measured`, or is an event `implausible` that says why.
    """
    left = list(range(len(points)))
    for take in range(1, TAKES + 1):
        asked = request | {"points": [points[index].model_dump(exclude_none=True) for index in left]}
        again: list[int] = []
        for event in worker.events(asked, stall_s):
            if event["event"] == "error":
                raise CookbookError(
                    event["what"], event["why"], "look at server.log; the points taken so far are kept in bench/"
                )
            if "index" in event:
                event |= {"index": left[event["index"]], "of": len(points)}
            if event["event"] == "point":
                bound = roofline(points[event["index"]]) if roofline else None
                event = _taken(event, gpus, bound, last=take == TAKES)
                again += [event["index"]] if event["event"] == "implausible" else []
            yield event
        left = again
        if not left:
            return


def _taken(event: dict, gpus: int, bound: float | None, last: bool) -> dict:
    """The event of a finished point with what was `measured`.

    The file of a point whose figures contradict each other is kept as `implausible-NAME`, so that this sweep, or the
    next call, measures it again. Raises `CookbookError` where it was the `last` take.
    """
    file = Path(event["file"])
    try:
        return event | {"measured": point_of(json.loads(file.read_text()), gpus, bound)}
    except CookbookError as error:
        file.replace(file.with_name(f"implausible-{file.name}"))
        if last:
            raise
        return event | {"event": "implausible", "why": error.why}
