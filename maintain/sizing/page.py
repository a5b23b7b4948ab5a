"""docs/sizing.md: what `cookbook size` counts with, and how near it comes to measured points that it was not fitted on."""

from helpers.pages.markdown import row, table
from helpers.paths import ROOT
from helpers.records.curves import speed_records
from helpers.records.record import Point, RunRecord
from maintain.sizing.queueing import Request, simulate
from maintain.sizing.speed import Layout, shares

PAGE = ROOT / "docs" / "sizing.md"
TARGET, LONG = (
    "h200",
    (8192, 1024),
)  # the target with measured points at two lengths; the shares come from the other one
TEXT = """<!-- written by `cookbook render`; do not edit -->

# How `cookbook size` counts

Ask it for a load, and it names the layout of fewest GPUs on each target:

```bash
.venv/bin/cookbook size --users 500 --input 2000 --output 500 --tok-s-per-user 30
```

The tab *Size* of the panel in [start_here.ipynb](../notebooks/start_here.ipynb) does the same.

A step of the server moves bytes and computes. The roofline says how long either takes at least; they overlap by half. A
record says what share of this the server reached with so many requests in flight, at 1,024 tokens in and out. Between two
measured loads the share is drawn along the logarithm. On a target without records the share of the nearest layout elsewhere
stands in, and the last column says so: read those rows as a first guess.

Memory limits how many requests one copy holds. The column *in bursts* comes from a simulated server with continuous batching:
requests arrive with gamma-distributed gaps of shape 0.25, and copies are added until 95 % of the requests get their speed. Time
to the first token is not part of it. The records are those of the `throughput` profile: FP8 activations and speculation
([levers](../notebooks/studies/levers.ipynb)) are not counted.

Prices are yours: write US dollars per GPU and hour into `recipes/prices.yaml`.

## How near it comes

Nothing was fitted on these points: they have 8,192 tokens in, and the shares come from 1,024. A test holds each within 16 %.
A percentage is how far the estimate lies above what was measured.

{points}
"""


def held_out() -> list[tuple[RunRecord, Point]]:
    """The measured points at the other length, single servers only."""
    return [
        (record, point)
        for record in speed_records(TARGET)
        for point in record.throughput
        if (point.input_tokens, point.output_tokens) == LONG and record.serving.replicas == 1
    ]


def layout_of(record: RunRecord) -> Layout:
    """The layout of a record, its shares from the records of the same vLLM."""
    same = [one for one in speed_records(TARGET) if one.versions["vllm"] == record.versions["vllm"]]
    own = record.serving.tensor_parallel_size
    return Layout(TARGET, record.model, own, shares(TARGET, record.model, same)[own])


def predicted(record: RunRecord, point: Point) -> tuple[float, float]:
    """(TPOT in ms of a steady state, output tok/s of the simulated server) at a measured point."""
    layout = layout_of(record)
    served = simulate(layout, [Request(0.0, *LONG) for _ in range(point.prompts)], closed=point.concurrency)
    return layout.tpot_ms(point.concurrency, *LONG), served.tok_s


def rendered() -> str:
    """The page as it should be."""
    rows = []
    for record, point in held_out():
        tpot, rate = predicted(record, point)
        told = (f"{point.tpot_ms.p50:.2f}", f"{tpot / point.tpot_ms.p50 - 1:+.0%}", f"{point.output_tok_s:,.0f}")
        layout = f"{record.model} {record.serving.label}, vLLM {record.versions['vllm']}"
        rows.append(row(layout, point.concurrency, *told, f"{rate / point.output_tok_s - 1:+.0%}"))
    head = ["H200", "requests in flight", "TPOT, ms", "steady state", "output tok/s", "simulated"]
    return TEXT.replace("{points}", table(head, rows))
