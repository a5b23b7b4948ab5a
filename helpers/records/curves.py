"""The committed run records of a target, and the curves in them."""

from collections.abc import Hashable
from pathlib import Path

from helpers.paths import RECORDS
from helpers.recipes import NANO
from helpers.recipes.command.serve import flags_of
from helpers.records.record import Point, RunRecord

# What tells a server where the tools are: it changes no speed and stands in no recipe.
TOOLS = ("--tool-server", "VLLM_GPT_OSS_SYSTEM_TOOL_MCP_LABELS")
LENGTHS = [(1024, 1024), (8192, 1024)]  # input and output tokens of the two sweeps that a target is to have
MEDIAN = 3  # so many runs of a point, and their median counts
Takes = dict[int, list[tuple[RunRecord, Point]]]  # by concurrency: the runs of one command, oldest first


def load_records(target: str, folder: Path | None = None) -> list[RunRecord]:
    """Every record of a target, oldest first. Raises `CookbookError` with the name of a damaged one."""
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


def curves(
    records: list[RunRecord], model: str, input_tokens: int, output_tokens: int, variants: bool = False
) -> dict[str, list[Point]]:
    """Points of one model at one pair of lengths by configuration, single servers before replicas.

    Records of one command make one curve. Of two equal points the newer counts, of three or more the median by output tok/s:
    a kernel compiled while a point is measured spoils it. Of several commands the newest that has a curve (two points) is
    drawn, else the newest. Variants (bare flags, a feature turned off) are left out unless asked for.
    """
    found = takes(records, model, input_tokens, output_tokens, variants)
    return {label: [_counts([point for _, point in found[label][at]]) for at in found[label]] for label in found}


def takes(
    records: list[RunRecord], model: str, input_tokens: int, output_tokens: int, variants: bool = False
) -> dict[str, Takes]:
    """The runs that stand behind each point of `curves`, by configuration and concurrency."""
    found: dict[tuple[int, int, str], dict[Hashable, Takes]] = {}
    for record in records:
        points = points_of(record, input_tokens, output_tokens)
        served = record.serving
        if record.model == model and record.state == "passed" and points and (variants or not served.variant):
            commands = found.setdefault((served.replicas, served.tensor_parallel_size, served.label), {})
            runs = commands.pop(setting(record), {})
            for point in points:
                runs[point.concurrency] = [*runs.get(point.concurrency, []), (record, point)]
            commands[setting(record)] = runs  # at the end: commands stand in the order of their newest record
    return {place[-1]: _drawn(found[place]) for place in sorted(found)}


def by_version(records: list[RunRecord]) -> dict[str, list[RunRecord]]:
    """The records of each vLLM, the newest release first: what two releases gave is no comparison of anything else."""
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        found.setdefault(record.release, []).append(record)
    number = lambda version: [int(part) if part.isdigit() else 0 for part in version.split(".")]  # noqa: E731
    return {version: found[version] for version in sorted(found, key=number, reverse=True)}


def newest_of(records: list[RunRecord]) -> list[RunRecord]:
    """The records of the newest vLLM among those that passed and measured something."""
    found = by_version([record for record in records if record.state == "passed" and record.throughput])
    return next(iter(found.values()), [])


def versioned(records: list[RunRecord], model: str, input_tokens: int, output_tokens: int) -> dict[str, list[Point]]:
    """The `curves` of every vLLM; those of an older one than the newest say so."""
    found: dict[str, list[Point]] = {}
    for number, (version, own) in enumerate(by_version([r for r in records if r.model == model]).items()):
        for label, points in curves(own, model, input_tokens, output_tokens).items():
            found[f"{label} (vLLM {version})" if number else label] = points
    return found


def _drawn(commands: dict[Hashable, Takes]) -> Takes:
    newest_first = list(reversed(commands.values()))
    chosen = next((points for points in newest_first if len(points) > 1), newest_first[0])
    return {concurrency: chosen[concurrency] for concurrency in sorted(chosen)}


def _counts(points: list[Point]) -> Point:
    by_speed = sorted(points, key=lambda point: point.output_tok_s)
    return points[-1] if len(points) < MEDIAN else by_speed[(len(points) - 1) // 2]


def points_of(record: RunRecord, input_tokens: int, output_tokens: int) -> list[Point]:
    """The points of a record at one pair of lengths."""
    return [p for p in record.throughput if (p.input_tokens, p.output_tokens) == (input_tokens, output_tokens)]


def options(argv: list[str]) -> dict[str, tuple[str, ...]]:
    """The options of a command with their values, without the port, the tools and the checkpoint's place.

    >>> options(["vllm", "serve", "openai/gpt-oss-20b", "--port", "8000", "--enforce-eager"])
    {'--enforce-eager': ()}
    """
    start = next((place for place, word in enumerate(argv) if word.startswith("--")), len(argv))
    return {flag: values for flag, values in flags_of(argv[start:]).items() if flag not in ("--port", *TOOLS)}


def switch(name: str) -> bool:
    """Whether a variable changes what vLLM does under load."""
    return name.startswith("VLLM_") and name not in (*TOOLS, "VLLM_API_KEY")


def setting(record: RunRecord) -> Hashable:
    """What two records have to have in common for their points to make one curve."""
    env = frozenset((name, value) for name, value in record.env.items() if switch(name))
    stack = record.versions.get("vllm"), record.versions.get("torch")
    gpu = tuple(record.machine.gpus[:1])
    return frozenset(options(record.argv).items()), env, record.weights, gpu, record.serving.replicas, stack
