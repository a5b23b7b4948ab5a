"""docs/million.md: what a million users need, by records and the simulated server, and what gives way first."""

from dataclasses import dataclass

from helpers.files import write_whole
from helpers.pages.markdown import row, table
from helpers.paths import ROOT
from maintain.sizing.host import crowded, host_us, predicted, several
from maintain.sizing.plan import Demand, Sized, fitted, in_bursts
from maintain.sizing.speed import Layout, layouts

PAGE = ROOT / "docs" / "million.md"
TARGETS, MODELS = ("h200", "h100"), ("gpt-oss-120b", "gpt-oss-20b")  # those with records of both models
PER_HOST = 8  # GPUs of a usual server of these targets
POISSON, SIMULATED = 1.0, 3000  # many users who know nothing of each other; requests that are simulated
TEXT = """<!-- written by `python -m maintain.sizing.million`; do not edit -->

# A million users, on paper

{users:,} people, {each:g} requests each a day, {peak:.0%} of them in the busiest hour: {rate:.0f} requests a second.
{inputs:,} tokens in, {outputs} out, {speed:g} tokens a second for each: {in_flight:,} requests in flight at once.
These are assumptions. Put your own to `cookbook size`, whose `--users` are the requests in flight:

```bash
.venv/bin/cookbook size --users {in_flight} --input {inputs} --output {outputs} --tok-s-per-user {speed:g}
```

## How many GPUs

Of the layouts on record, the one of fewest GPUs. *Alone*: nothing but the GPUs costs time. *On shared hosts*:
{per_host} GPUs of one host cost each other what the next section says. *With room*: 95 % of the requests get their
speed while they arrive at random (Poisson), on the simulated server of [docs/sizing.md](sizing.md).

{gpus}

## What gives way first

First the speed of the slowest twentieth: a step that reads a prompt delays every answer in it, and prompts come at
random. This costs more GPUs than anything else. Small copies suffer most, because each has its own crowd.

Then the host:

{first}

Every stream costs each step of its host {cost:.1f} µs: router, HTTP servers and load client ran on the same
processors. The number is fitted on one measured point, four copies of gpt-oss-20b with 1,024 requests in flight. At
the other three it holds the time per output token within {off:.0%}. The simulated server gives up to {worst:.0%} more
output tokens a second than was measured: the streams of copies end unevenly, which it does not know. Two copies on vLLM 0.32.0
lost more through the router than when each was asked directly, with processors idle
([what was measured on H200](../notebooks/studies/h200.ipynb)). So read the {cost:.1f} µs as the cost of this way of asking.

{points}

## What is not in it

Networks, disks, failures, and the minutes that a copy takes to start: an autoscaler comes too late for a burst, so
the room is kept running. Prefixes that repeat need less. Nothing of this ran at that size.
"""


@dataclass(frozen=True)
class Day:
    """What so many people ask in a day. Assumed, not measured."""

    users: int = 1_000_000
    requests_each: float = 10.0  # a day
    busiest_hour: float = 0.1  # share of a day's requests
    inputs: int = 2000
    outputs: int = 500
    tok_s_per_user: float = 30.0

    @property
    def rate(self) -> float:
        """Requests a second in the busiest hour."""
        return self.users * self.requests_each * self.busiest_hour / 3600

    @property
    def demand(self) -> Demand:
        """The requests in flight at once in that hour, by Little's law."""
        in_flight = round(self.rate * self.outputs / self.tok_s_per_user)
        return Demand(in_flight, self.inputs, self.outputs, self.tok_s_per_user)


@dataclass(frozen=True)
class Answer:
    """One layout for a day: GPUs alone, on shared hosts, and with room for random arrivals."""

    layout: Layout
    alone: Sized
    shared: Sized
    room: Sized

    @property
    def host_share(self) -> float:
        """The share of a token's time that goes to the host."""
        copies = PER_HOST // self.layout.size
        waits = self.shared.in_flight * copies * host_us() / 1e3 if copies > 1 else 0.0
        return waits * self.shared.tok_s_per_user / 1e3


def answer(day: Day, model: str, target: str) -> Answer:
    """The measured layout of fewest GPUs that serves the day."""
    found = []
    for layout in layouts(model):
        if layout.target == target and layout.source.startswith("records"):
            shared = crowded(layout, PER_HOST // layout.size, host_us())
            own, beside = fitted(layout, day.demand), fitted(shared, day.demand)
            if own and beside:
                found.append((beside.gpus, layout, own, beside))
    _, layout, own, beside = min(found, key=lambda one: one[0])
    return Answer(layout, own, beside, in_bursts(beside, day.demand, POISSON, SIMULATED))


def rendered() -> str:
    """The page as it should be."""
    day, gpus, firsts = Day(), [], []
    for model in MODELS:
        for target in TARGETS:
            best = answer(day, model, target)
            copies, size = best.room.copies_in_bursts, best.layout.size
            room = str(copies * size) if copies else "–"
            name = f"{model} on {target.upper()}"
            gpus.append(row(name, f"TP{size}", best.alone.gpus, best.shared.gpus, room, best.shared.in_flight))
            firsts.append(row(name, f"{1 - best.host_share:.0%}", f"{best.host_share:.0%}"))
    points, worst, off = [], 0.0, 0.0
    for record, layout, point in several():
        tpot, rate = predicted(record, layout, point)
        worst = max(worst, rate / point.output_tok_s - 1)
        off = max(off, abs(tpot / point.tpot_ms.p50 - 1))
        measured = (f"{point.tpot_ms.p50:.2f}", f"{tpot / point.tpot_ms.p50 - 1:+.0%}", f"{point.output_tok_s:,.0f}")
        points.append(row(point.concurrency, *measured, f"{rate / point.output_tok_s - 1:+.0%}"))
    return TEXT.format(
        users=day.users,
        each=day.requests_each,
        peak=day.busiest_hour,
        rate=day.rate,
        inputs=day.inputs,
        outputs=day.outputs,
        speed=day.tok_s_per_user,
        in_flight=day.demand.users,
        per_host=PER_HOST,
        gpus=table(
            ["", "layout", "GPUs alone", "on shared hosts", "with room", "in flight on a copy of a shared host"], gpus
        ),
        first=table(["a token's time at that load", "GPUs", "host"], firsts),
        cost=host_us(),
        worst=worst,
        off=off,
        points=table(["in flight, 4 x TP1 on H200", "TPOT, ms", "by the model", "output tok/s", "simulated"], points),
    )


if __name__ == "__main__":
    write_whole(PAGE, rendered())
