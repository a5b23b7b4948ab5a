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
    """Points of one model at one pair of lengths by configuration: the newest record's, and what older ones of the same
    command add.

    Variants (bare flags, a feature turned off) are left out unless asked for.
    """
    chosen: dict[str, list[RunRecord]] = {}
    for record in reversed(records):
        kept = record.model == model and record.state == "passed"
        if kept and (variants or not record.parameters.get("variant")) and of(record, input_tokens, output_tokens):
            same = chosen.setdefault(label_of(record), [record])
            if same[0] is not record and setting(record) == setting(same[0]):
                same.append(record)
    found = {}
    for label, same in sorted(chosen.items()):
        points = {p.concurrency: p for record in reversed(same) for p in of(record, input_tokens, output_tokens)}
        found[label] = [points[concurrency] for concurrency in sorted(points)]
    return found


def of(record: RunRecord, input_tokens: int, output_tokens: int) -> list[Point]:
    """The points of a record at one pair of lengths."""
    return [p for p in record.throughput if (p.input_tokens, p.output_tokens) == (input_tokens, output_tokens)]


def setting(record: RunRecord) -> tuple:
    """What two records have to have in common for their points to make one curve."""
    argv = list(record.argv)
    if "--port" in argv:
        del argv[argv.index("--port") : argv.index("--port") + 2]
    stack = record.versions.get("vllm"), record.versions.get("torch")
    return argv, record.weights, record.machine.gpus[:1], record.replicas, stack
