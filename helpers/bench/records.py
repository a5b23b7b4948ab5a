"""The committed run records of a target, and the curves in them."""

from pathlib import Path

from helpers.bench.record import Point, RunRecord
from helpers.paths import RECORDS
from helpers.recipes import NANO

LENGTHS = [(1024, 1024), (8192, 1024)]  # input and output tokens of the two sweeps that a target is to have


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
    """Points of one model at one pair of lengths by configuration, single servers before replicas.

    Records of one command make one curve, the newer of two equal points counts. Of several commands the newest that has
    a curve (two points) is drawn, else the newest. Variants (bare flags, a feature turned off) are left out unless asked for.
    """
    found: dict[tuple[int, int, str], dict[tuple, dict[int, Point]]] = {}
    for record in records:
        points = {point.concurrency: point for point in points_of(record, input_tokens, output_tokens)}
        wanted = variants or not record.parameters.get("variant")
        if record.model == model and record.state == "passed" and points and wanted:
            size = record.parameters.get("tensor_parallel_size", 1)
            commands = found.setdefault((record.replicas, size, label_of(record)), {})
            before = commands.pop(setting(record), {})
            commands[setting(record)] = before | points  # at the end: commands stand in the order of their newest record
    return {place[-1]: _sorted(found[place]) for place in sorted(found)}


def by_version(records: list[RunRecord]) -> dict[str, list[RunRecord]]:
    """The records of each vLLM, the newest release first: what two releases gave is no comparison of anything else."""
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        found.setdefault(record.versions["vllm"].split("+")[0], []).append(record)
    number = lambda version: [int(part) if part.isdigit() else 0 for part in version.split(".")]  # noqa: E731
    return {version: found[version] for version in sorted(found, key=number, reverse=True)}


def versioned(
    records: list[RunRecord], model: str, input_tokens: int, output_tokens: int
) -> dict[str, list[Point]]:
    """The `curves` of every vLLM; those of an older one than the newest say so."""
    found: dict[str, list[Point]] = {}
    for number, (version, own) in enumerate(by_version([r for r in records if r.model == model]).items()):
        for label, points in curves(own, model, input_tokens, output_tokens).items():
            found[f"{label} (vLLM {version})" if number else label] = points
    return found


def _sorted(commands: dict[tuple, dict[int, Point]]) -> list[Point]:
    newest_first = list(reversed(commands.values()))
    chosen = next((points for points in newest_first if len(points) > 1), newest_first[0])
    return [chosen[concurrency] for concurrency in sorted(chosen)]


def points_of(record: RunRecord, input_tokens: int, output_tokens: int) -> list[Point]:
    """The points of a record at one pair of lengths."""
    return [p for p in record.throughput if (p.input_tokens, p.output_tokens) == (input_tokens, output_tokens)]


def setting(record: RunRecord) -> tuple:
    """What two records have to have in common for their points to make one curve."""
    argv, model = list(record.argv), record.argv[2:3]
    if "--port" in argv:
        del argv[argv.index("--port") : argv.index("--port") + 2]
    words = tuple(word for word in argv if [word] != model)  # where the checkpoint lay does not matter
    env = tuple(sorted((name, value) for name, value in record.env.items() if name.startswith("VLLM_")))
    stack = record.versions.get("vllm"), record.versions.get("torch")
    return words, env, record.weights, tuple(record.machine.gpus[:1]), record.replicas, stack
