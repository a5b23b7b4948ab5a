"""What a run says of its sweep: the knee, one user's share, the load client's line."""

import shlex
from pathlib import Path

import pytest

from helpers.bench.client import bench_words
from helpers.records.record import Percentiles, Point
from helpers.runs.run import Run
from helpers.runs.throughput import FOR_FILES, knee, points_table, takeaways


def points(*rates: tuple[int, float]) -> list:
    return [point(users, rate) for users, rate in rates]


def point(users: int, rate: float) -> Point:
    """A point whose users share the rate evenly, TTFT 50 ms."""
    ttft, tpot = (Percentiles(p50=ms, p90=ms, p99=ms, mean=ms) for ms in (50.0, 1e3 * users / rate))
    return Point.model_construct(
        concurrency=users,
        input_tokens=64,
        output_tokens=101,
        output_tok_s=rate,
        tok_s_per_user=rate / users,
        ttft_ms=ttft,
        tpot_ms=tpot,
    )


@pytest.mark.parametrize(
    ("rates", "users"),
    [
        ([(1, 100.0), (2, 190.0), (4, 350.0), (8, 400.0)], 4),
        ([(1, 100.0), (2, 190.0), (4, 350.0)], 4),
        ([(1, 100.0), (2, 120.0), (4, 350.0), (8, 360.0)], 4),
        ([(1, 100.0), (2, 120.0)], 1),
        ([(4, 100.0)], 4),
    ],
    ids=["flat at the end", "never flat", "flat in between", "flat at once", "one point"],
)
def test_the_knee_is_the_last_point_that_paid(rates, users):
    assert knee(points(*rates)).concurrency == users


def test_the_takeaways_name_the_knee_and_what_a_user_feels_there():
    said = takeaways(points((1, 100.0), (2, 190.0), (4, 350.0), (8, 400.0)))
    assert (
        said.startswith("The knee is at 4 requests in flight: 2 times as many gave 1.14 times the output tok/s.")
        and "350 output tok/s" in said
    )
    assert "still rises at 4" in takeaways(points((1, 100.0), (4, 350.0)))
    assert takeaways(points((4, 100.0))).startswith("At concurrency 4 the server gives 100")


def test_the_table_shows_the_slow_requests_beside_the_median():
    slow = point(4, 350.0).model_copy(update={"ttft_ms": Percentiles(p50=50.0, p90=900.0, p99=900.0, mean=200.0)})
    assert list(points_table([slow])[["TTFT p50 (ms)", "TTFT p90 (ms)"]].loc[4]) == [50.0, 900.0]


def test_the_printed_line_is_what_the_load_client_gets(tmp_path: Path):
    run = Run("h200", {"weights": "synthetic", "run_dir": str(tmp_path), "concurrency": [2, 16]})
    words = shlex.split(run.load_command().replace("\\\n", " "))
    load = {"concurrency": 16, "input_tokens": 1024}
    own = bench_words(
        "http://127.0.0.1:8000", "gpt-oss-120b", "gpt-oss-120b", load, prompts=48, output_tokens=1024, seed=0
    )
    assert words == ["vllm", "bench", "serve", *(word for word in own if not word.startswith(FOR_FILES))]
    assert "--ignore-eos" in words and "--max-concurrency=16" in words
