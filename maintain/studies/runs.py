"""The runs behind a study: which starts were timed, and where they went."""

from statistics import median

from helpers.paths import RECORDS
from helpers.recipes import Target
from helpers.records.curves import load_records, options
from helpers.records.record import RunRecord
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
        first = [r for r in found if label(r) == label(second) and not again(r)]
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
