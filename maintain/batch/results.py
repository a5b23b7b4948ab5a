"""Every point of many runs as rows of one Parquet table, for SQL and pandas; and what two vLLM versions differ by."""

import math
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.errors import CookbookError, UsageError
from helpers.files import write_whole
from helpers.records.record import RunRecord

TABLE = "results.parquet"
COLUMNS = {
    **dict.fromkeys(("run", "target", "model", "weights", "layout", "profile", "vllm", "state", "why"), "VARCHAR"),
    **{"machine": "VARCHAR", "cores": "INTEGER", "started": "TIMESTAMP", "seconds": "DOUBLE", "startup_s": "DOUBLE"},
    **dict.fromkeys(("concurrency", "input_tokens", "output_tokens", "prompts"), "INTEGER"),
    **dict.fromkeys(("output_tok_s", "output_tok_s_per_gpu", "tok_s_per_user", "ttft_p50_ms", "tpot_p50_ms"), "DOUBLE"),
}
SETTING = ("target", "machine", "model", "weights", "layout", "profile", "input_tokens", "output_tokens", "concurrency")
ASSUMED = 1.10  # a tenth either way where fewer than two runs of one command show the noise
# Student's t for 95 % two-sided by degrees of freedom, from its definition; beyond the last it falls to 1.96
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def rows(name: str, record: RunRecord) -> list[dict[str, Any]]:
    """A row for each point of a run; one without a point's columns for a run that measured none."""
    about = {
        "run": name,
        "target": record.target,
        "model": record.model,
        "weights": record.weights,
        "layout": record.serving.label,
        "profile": record.serving.profile,
        "vllm": record.release if "vllm" in record.versions else None,
        "state": record.state,
        "why": record.why,
        "machine": (record.machine.gpus or [f"{record.machine.cpu}, {record.machine.cores} cores"])[0],
        "cores": record.machine.cores,
        "started": record.started.replace(tzinfo=None),
        "seconds": (record.finished - record.started).total_seconds(),
        "startup_s": record.startup_s.get("total"),
    }
    points = [
        {
            **{key: getattr(point, key) for key in COLUMNS if key in type(point).model_fields},
            "ttft_p50_ms": point.ttft_ms.p50,
            "tpot_p50_ms": point.tpot_ms.p50,
        }
        for point in record.throughput
    ]
    return [about | point for point in points] or [about]


def frame(found: Iterable[tuple[str, RunRecord]]) -> pd.DataFrame:
    """The rows of runs (name, record), with every column."""
    return pd.DataFrame([row for name, record in found for row in rows(name, record)], columns=list(COLUMNS))


def write_results(folder: Path, names: Sequence[str]) -> Path:
    """`results.parquet` of a batch's folder: the runs of these names that have a record."""
    import duckdb

    found = []
    for name in names:
        try:
            found.append((name, RunRecord.read(folder / name / "record.json")))
        except CookbookError:
            continue  # it has not run, or could not begin: the summary says so
    typed = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in COLUMNS.items())
    with tempfile.TemporaryDirectory() as place, duckdb.connect() as database:
        database.register("found", frame(found))
        database.execute(f"COPY (SELECT {typed} FROM found) TO '{place}/{TABLE}' (FORMAT parquet)")
        return write_whole(folder / TABLE, (Path(place) / TABLE).read_bytes())


@dataclass(frozen=True)
class Change:
    """The ratio of two versions' output tok/s at one setting, with its 95 % interval."""

    setting: dict[str, Any]
    runs: tuple[int, int]  # of the old version, of the new one
    ratio: float
    low: float
    high: float
    cores: tuple[int, ...] = ()  # of the hosts, where GPUs make the machine

    @property
    def interval(self) -> str:
        return f"{self.low:.2f} to {self.high:.2f}" + (" (noise assumed)" if min(self.runs) < 2 else "")

    @property
    def verdict(self) -> str:
        """slower or faster where the whole interval says so."""
        return "slower" if self.high < 1 else "faster" if self.low > 1 else "within the noise"


def versions(results: pd.DataFrame, old: str, new: str) -> list[Change]:
    """Every setting that both vLLM versions measured, compared by the geometric means of their runs.

    The interval is Welch's for the difference of logarithms. With fewer than two runs on a side nobody has seen that side's
    noise, and a tenth is assumed. `UsageError` where no setting has both.
    """
    import duckdb

    with duckdb.connect() as database:
        database.register("results", results)
        keys = ", ".join(SETTING)
        logs = "list(ln(output_tok_s)) FILTER (vllm = {})"
        found = database.execute(
            f"SELECT {keys}, list_sort(list(DISTINCT cores)) AS hosts, {logs.format('$old')} AS old, "
            f"{logs.format('$new')} AS new FROM results "
            "WHERE state = 'passed' AND output_tok_s > 0 GROUP BY ALL HAVING len(old) > 0 AND len(new) > 0 ORDER BY ALL",
            {"old": old, "new": new},
        ).fetchall()
    if not found:
        raise UsageError(
            f"no setting was measured with vLLM {old} and with {new}",
            why=f"the table holds {', '.join(sorted(set(results.vllm.dropna()))) or 'no version'}",
            do="run the same plan with both",
        )
    return [change(dict(zip(SETTING, row, strict=False)), *row[-2:], cores=row[-3]) for row in found]


def change(setting: dict[str, Any], old: Sequence[float], new: Sequence[float], cores: Sequence[int] = ()) -> Change:
    """The ratio of the geometric means of two sets of logarithms."""
    middle = statistics.mean(new) - statistics.mean(old)
    if min(len(old), len(new)) < 2:
        width = math.log(ASSUMED)
    else:
        parts = [statistics.variance(side) / len(side) for side in (old, new)]
        weights = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (old, new), strict=True))
        freedom = int(sum(parts) ** 2 / weights) if weights else len(old) + len(new) - 2
        t = T95[freedom - 1] if freedom <= len(T95) else 1.96 + 2.7 / freedom
        width = t * math.sqrt(sum(parts))
    ratio, low, high = (math.exp(middle + side) for side in (0.0, -width, width))
    return Change(setting, (len(old), len(new)), ratio, low, high, tuple(cores))


def markdown(changes: Sequence[Change], old: str, new: str) -> str:
    """The comparison as a Markdown table, what got slower first."""
    lines = [
        f"| setting | tokens | concurrency | runs | vLLM {new} against {old} | 95 % interval | |",
        "|---|---|---:|---|---:|---|---|",
    ]
    order = {"slower": 0, "within the noise": 1, "faster": 2}
    for one in sorted(changes, key=lambda c: (order[c.verdict], c.ratio)):
        own = one.setting
        setting = ", ".join(own[name] for name in ("machine", "model", "layout", "profile"))
        tokens, runs = f"{own['input_tokens']:,}/{own['output_tokens']:,}", f"{one.runs[0]} and {one.runs[1]}"
        verdict = "**slower**" if one.verdict == "slower" else one.verdict
        lines.append(
            f"| {setting} | {tokens} | {own['concurrency']} | {runs} | {one.ratio:.2f} | {one.interval} | {verdict} |"
        )
    hosts = sorted({one.cores for one in changes if len(one.cores) > 1})
    if hosts:
        differ = " and ".join(map(str, hosts[0]))
        lines += ["", f"The hosts differ: {differ} CPU cores. Measure a flagged setting again on one host."]
    return "\n".join(lines)
