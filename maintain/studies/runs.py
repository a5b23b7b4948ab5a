"""The runs behind a study: where their starts went, how many stand behind a point, whether their flags are today's."""

from collections.abc import Iterable
from statistics import median

from helpers.paths import RECORDS
from helpers.recipes import Target, load_target
from helpers.records.claims import OTHER_FLAGS, same_flags
from helpers.records.curves import LENGTHS, MEDIAN, Takes, by_version, curves, load_records, newest_of, options, takes
from helpers.records.record import Point, RunRecord
from helpers.server.launch import PHASE_TEXT

AGAIN = "start 2"  # the beginning of a record's note where its server is the second of one command on a host
MOST = 3  # phases that the sentence names


def timed(target: Target) -> list[RunRecord]:
    """The records with the pinned vLLM whose start was timed, in the order in which they began."""
    every = [*load_records(target.target), *load_records(target.target, RECORDS / target.target / "levers")]
    found = [r for r in every if r.release == target.stack.vllm and r.machine.gpus and "total" in r.startup_s]
    return sorted(found, key=lambda record: record.started)


def starts_said(target: Target) -> str:
    """Which phases take most of a start, and what the second start of a command took; empty where there are not two."""
    found = timed(target)
    if len(found) < 2:
        return ""
    shares = {name: median(r.startup_s.get(name, 0) / r.startup_s["total"] for r in found) for name in phases(found)}
    most = sorted(shares, key=lambda name: -shares[name])[:MOST]
    named = "; ".join(f"`{name}` {shares[name]:.0%} ({PHASE_TEXT[name]})" for name in most)
    parts = [f"These phases took most of a start, in the median of the {len(found)} rows: {named}."]
    for second in (r for r in found if again(r)):
        first = [r for r in found if label(r) == label(second) and r.commit == second.commit and not again(r)]
        if first:
            parts.append(second_start(second, max(first, key=lambda r: r.startup_s["total"]), len(first)))
    return "\n\n".join(parts)


def second_start(second: RunRecord, first: RunRecord, number: int) -> str:
    """The second start of a command against the longest of `number` first ones, and the phase that fell most."""
    fell = max(phases([first]), key=lambda name: first.startup_s[name] - second.startup_s.get(name, 0))
    longest = f"the longest of {number} first starts" if number > 1 else "a first start"
    return (
        f"The second start of {label(second)} on one host took {second.startup_s['total']:.0f} s; {longest} took "
        f"{first.startup_s['total']:.0f} s. `{fell}` fell most, from {first.startup_s[fell]:.0f} to "
        f"{second.startup_s.get(fell, 0):.0f} s."
    )


def again(record: RunRecord) -> bool:
    """Whether the start was a second one of the same command on its host."""
    return any(note.startswith(AGAIN) for note in record.notes)


def phases(records: list[RunRecord]) -> list[str]:
    """The phases that records name, in the order of a start."""
    return [name for name in dict.fromkeys(name for r in records for name in r.startup_s) if name != "total"]


def label(record: RunRecord) -> str:
    """Model, parallelism, then the variant or the profile; and how many graph sizes where the command names them."""
    served, sizes = record.serving, options(record.argv).get("--cudagraph-capture-sizes")
    graphs = f", {len(sizes)} graph sizes" if sizes else ""
    return f"{record.model} {served.label}" + ("" if served.variant else f", {served.profile}") + graphs


def medians(records: list[RunRecord]) -> str:
    """The points that are medians, of every vLLM; empty where no point was measured so often."""
    return "; ".join(
        f"{model} {label} at {listed(points)} in flight, {lengths[0]:,}/{lengths[1]:,} tokens, vLLM {version} ({runs} runs)"
        for version, own in by_version(records).items()
        for model in dict.fromkeys(record.model for record in own)
        for lengths in LENGTHS
        for label, found in takes(own, model, *lengths).items()
        for runs, points in often(found).items()
    )


def flags(records: list[RunRecord], model: str) -> str:
    """Which curves of one vLLM ran with other flags than today's, and what today's gave at the same points."""
    where, gave = [], []
    for lengths in LENGTHS:
        other = {
            label: found
            for label, found in takes(records, model, *lengths).items()
            if not any(same_flags(record) for runs in found.values() for record, _ in runs)
        }
        where += [f"as {listed(other)} at {lengths[0]:,}/{lengths[1]:,} tokens"] if other else []
        gave += [today(records, model, label, lengths, found) for label, found in other.items()]
    ran = f"{model} ran {OTHER_FLAGS} {', '.join(where)}." if where else ""
    return " ".join(filter(None, [ran, *gave]))


def today(records: list[RunRecord], model: str, label: str, lengths: tuple[int, int], other: Takes) -> str:
    """What records with today's flags hold of the same points, per GPU."""
    own = [record for record in records if record.serving.label == label and same_flags(record)]
    points = [point for point in curves(own, model, *lengths).get(label, []) if point.concurrency in other]
    gave = [f"{point.output_tok_s_per_gpu:,.0f} at {point.concurrency}" for point in points]
    return f"With today's, {label} gave {listed(gave)} in flight (output tok/s per GPU)." if gave else ""


def left_out(record: RunRecord) -> str:
    """What the page's own run does besides this one's: points of the sweep, the download."""
    usual = [
        n
        for n in load_target(record.target).defaults.concurrency
        if n not in {p.concurrency for p in record.throughput}
    ]
    sweep = f"{listed(usual)} requests in flight" if usual and record.throughput else ""
    said = " and ".join(filter(None, [sweep, "the download of the weights" if record.weights == "synthetic" else ""]))
    return f", {said} left out" if said else ""


def compiling(points: list[Point]) -> list[int]:
    """The concurrencies whose median TTFT is far above that of a higher one: the load did not cause it."""
    return [
        point.concurrency
        for place, point in enumerate(points)
        if any(point.ttft_ms.p50 > 1.5 * later.ttft_ms.p50 for later in points[place + 1 :])
    ]


def of_its_kind(record: RunRecord, records: list[RunRecord]) -> tuple[list[Point], Takes]:
    """The points of a record's model, layout and lengths with the newest vLLM: the median runs, and all runs of each; empty
    where `records` hold none, as of a trained test model."""
    lengths = record.throughput[0].input_tokens, record.throughput[0].output_tokens
    same, label = newest_of([one for one in records if one.model == record.model]), record.serving.label
    points, runs = curves(same, record.model, *lengths), takes(same, record.model, *lengths)
    return points.get(label, []), runs.get(label, {})


def run_count(found: Takes, concurrency: int) -> str:
    """What a sentence says of a point of several runs: the one with the median output tok/s stands for them."""
    runs = len(found[concurrency])
    return f" (the median run of {runs})" if runs >= MEDIAN else ""


def often(found: Takes) -> dict[int, list[int]]:
    """The concurrencies measured three times or more, by the number of runs."""
    often: dict[int, list[int]] = {}
    for concurrency, runs in found.items():
        if len(runs) >= MEDIAN:
            often.setdefault(len(runs), []).append(concurrency)
    return often


def listed(things: Iterable[object]) -> str:
    """Things in a sentence.

    >>> listed(["TP1", "TP2", "TP4"]), listed([64])
    ('TP1, TP2 and TP4', '64')
    """
    *first, last = map(str, things)
    return f"{', '.join(first)} and {last}" if first else last
