"""The record of a hunt that is over, beside those of the benchmarks, and the hundred nastiest of its requests."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.result import RECORDS, Value, result_of
from helpers.errors import UsageError
from helpers.paths import ROOT, shown
from hunt.chase import Progress
from hunt.drawing.draw import MODES
from hunt.request import Request, expanded
from hunt.state import GROWTH_GIB
from maintain.fleet.serve import MIDDLEWARE

QUESTION = "Does any request end the server?"
NASTIEST = ROOT / "tests" / "fixtures" / "nastiest.jsonl"
# The first request with logprobs takes half a minute (recipes/requests/first-logprobs.yaml).
COMPILED = ("logprobs", "beam")
BEFORE = ("previous_response_id", "store")  # whose answers follow from what was asked before
HUNDRED, LONGEST_S, LONGEST = 100, 1.0, 4_000  # requests, seconds and characters of each


def written(folder: Path, name: str, to: Path = RECORDS) -> Path:
    """Write the record of the hunt in `folder` as `name` into the folder `to`; returns its path."""
    if not (folder / "progress.json").exists():
        raise UsageError(f"there is no hunt in {shown(folder)}", do="pass the folder of one with --into")
    done = Progress(**json.loads((folder / "progress.json").read_text()))
    about = json.loads((folder / "about.json").read_text())
    without = ", ".join(about.get("without", []))
    of = f" of {about['served']}" if about.get("served") else ""
    question = f"{QUESTION[:-1]}{of}?" if not without else f"{QUESTION[:-1]}{of} without the remedy of {without}?"
    if MIDDLEWARE in about.get("argv", []):
        question = f"{question[:-1]} with the cookbook's middleware in front?"
    return result_of(name, question, values(done, bool(without)), about.get("versions", {})).write(to)


def values(done: Progress, bare: bool) -> list[Value]:
    """The figures of a hunt; on a server without a remedy a kill is what is looked for."""
    kinds = Counter(found["kind"] for found in done.findings.values())
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(done.statuses.items()))
    first, last = (done.memory_gib or [0.0])[:10][-1], (done.memory_gib or [0.0])[-1]
    modes = ", ".join(f"{done.modes.get(mode, 0)} {mode}" for mode in MODES)
    found = [
        Value(name="requests", value=done.requests, unit="", detail=f"{modes}; seed {done.seed}"),
        Value(name="kills", value=len(done.kills), unit="", bar=None if bare else 0, detail=_kills(done)),
        Value(name="time", value=done.seconds, unit="s", detail=statuses),
        Value(name="the server's memory, grown since the tenth batch", value=last - first, unit="GiB", bar=GROWTH_GIB),
        Value(name="the server's highest memory", value=done.highest_gib, unit="GiB"),
        Value(name="slowest answer", value=done.slowest_s, unit="s", bar=60.0),
        Value(
            name="left out as known and not prevented",
            value=sum(done.spared.values()),
            unit="",
            detail=", ".join(f"{count} x {case}" for case, count in done.spared.items()),
        ),
    ]
    return found + [
        Value(name=f"kinds of findings: {kind}", value=count, unit="") for kind, count in sorted(kinds.items())
    ]


def _kills(done: Progress) -> str:
    return "; ".join(f"{kill['fault']} <- {json.dumps(kill['requests'])[:200]}" for kill in done.kills)


def nastiest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The hundred: one for each finding first, then those whose fate was rarest; quick ones, so that all take seconds."""
    quick = [row for row in rows if row["status"] and row["seconds"] < LONGEST_S and not row["cancelled"]]
    small = [
        row
        for row in quick
        if len(text := str(expanded(row["body"]))) < LONGEST and not any(w in text for w in COMPILED + BEFORE)
    ]
    fate = Counter(map(_fate, small))
    chosen: dict[str, dict[str, Any]] = {}
    for row in sorted(small, key=lambda row: (not row["findings"], fate[_fate(row)], row["status"] != 200)):
        chosen.setdefault(row["findings"][0] if row["findings"] else _fate(row), row)
    return list(chosen.values())[:HUNDRED]


def _fate(row: dict[str, Any]) -> str:
    """What became of a request, and of which parameters it was made."""
    body = row["body"] if isinstance(row["body"], dict) else {}
    said = "".join(c for c in row["said"][:90] if not c.isdigit())
    return f"{row['path']} {row['status']} {said} {sorted(body)[:2] if row['status'] == 200 else ''}"


def keep_nastiest(folder: Path, to: Path = NASTIEST) -> Path:
    """Write the hundred nastiest of the hunt in `folder` into a file, the tests' fixture; returns its path."""
    if not (folder / "outcomes.jsonl").exists():
        raise UsageError(f"there is no hunt in {shown(folder)}", do="pass the folder of one with --into")
    with open(folder / "outcomes.jsonl") as lines:
        chosen = nastiest([json.loads(line) for line in lines])
    kept = [
        {"status": row["status"], **json.loads(Request(row["path"], row["body"], row["method"]).line())}
        for row in chosen
    ]
    to.write_text("".join(json.dumps(row) + "\n" for row in kept))
    return to
