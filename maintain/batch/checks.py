"""The contract of a batch that was killed and called again."""

import json
from collections.abc import Mapping
from pathlib import Path

from helpers.checks import Contract, Facts
from helpers.records.record import RunRecord


def most_at_once(records: list[RunRecord]) -> int:
    """The largest number of runs that were under way at one moment."""
    moves = sorted([(one.started, 1) for one in records] + [(one.finished, -1) for one in records])
    most = now = 0
    for _, move in moves:
        now += move
        most = max(most, now)
    return most


def resumed(folder: Path, before: Mapping[Path, int], parallel: int) -> Contract:
    """Every run of the plan has ended, what had passed (`before`: record -> its time of change) was left alone.

    Runs that could not begin have no record that passed; the summary says why they failed.
    """
    summary = json.loads((folder / "summary.json").read_text())
    states = [one["state"] for one in summary]
    places = [place for place in folder.iterdir() if place.is_dir() and not place.is_symlink()]  # `latest` is a link
    records = [RunRecord.read(place / "record.json") for place in places if (place / "record.json").exists()]
    facts = Facts()
    facts.same("runs", len(states), len(json.loads((folder / "plan.json").read_text())))
    facts.same("passed", states.count("passed"), len(states) - states.count("failed"))
    facts.need(
        "failed ones say why", all(one["why"] for one in summary if one["state"] == "failed"), "one has no reason"
    )
    passed = {path: changed for path, changed in before.items() if path.parent in places}
    again = [path.parent.name for path, changed in passed.items() if path.stat().st_mtime_ns != changed]
    facts.need("none repeated", bool(passed) and not again, f"{again} ran again, of {len(passed)} that had passed")
    most = most_at_once(records)
    facts.need("side by side", most == parallel, f"{most} runs were under way at once, not {parallel}")
    return facts.contract("batch.resumed", "batch")
