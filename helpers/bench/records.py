"""The committed run records of a target, and the curves in them."""

from pathlib import Path

from helpers.bench.record import Point, RunRecord
from helpers.paths import RECORDS
from helpers.recipes import NANO


def load_records(target: str, folder: Path | None = None) -> list[RunRecord]:
    """Every record of a target, oldest first; a damaged one raises `CookbookError` with its name."""
    files = sorted((folder or RECORDS / target).glob("*.json"))
    return sorted((RunRecord.read(file) for file in files), key=lambda record: record.finished)


def speed_records(target: str) -> list[RunRecord]:
    """The passed records of a target that measured gpt-oss itself, not the test model."""
    return [
        record
        for record in load_records(target)
        if record.state == "passed" and record.throughput and record.model != NANO
    ]


def evidence_file(target: str, model: str, what: str) -> Path:
    """Where a measurement that is no run record lies: `routing-synthetic`, `routing-dummy`, `dummy`, `steps`."""
    return RECORDS / target / "evidence" / f"{model}-{what}.json"


def label_of(record: RunRecord) -> str:
    """How a record's configuration is named in a figure: parallelism, replicas, variant."""
    size = record.parameters.get("tensor_parallel_size", 1)
    words = [f"TP{size}"] if record.replicas == 1 else [f"{record.replicas} x TP{size}"]
    return " ".join([*words, *filter(None, [record.parameters.get("variant", "")])])


def curves(
    records: list[RunRecord], model: str, input_tokens: int, output_tokens: int, variants: bool = False
) -> dict[str, list[Point]]:
    """Points of one model at one pair of lengths by configuration, the newest record of each.

    Variants (bare flags, a feature turned off) are left out unless asked for.
    """
    found: dict[str, list[Point]] = {}
    for record in records:
        if record.model != model or record.state != "passed":
            continue
        if record.parameters.get("variant") and not variants:
            continue
        points = [
            p for p in record.throughput if (p.input_tokens, p.output_tokens) == (input_tokens, output_tokens)
        ]
        if points:
            found[label_of(record)] = sorted(points, key=lambda point: point.concurrency)
    return dict(sorted(found.items()))
