"""The phases of a start of the CPU server, as it is and without what the cookbook does about them."""

import itertools
import json
import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.result import Result, Value, result_of
from benchmarks.sweep_cost import recipe_command
from helpers.machine import facts
from helpers.runs.folder import kept_on_failure
from helpers.server import free_port
from maintain.studies.startup import FIRST_REQUEST, Start, by_hand

MODEL = "gpt-oss-nano"
BAR_S = 30.0  # from the launch until the server answers
TIMES = 3  # starts of each, in alternation
PROCESSES = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}  # vLLM's own default: the worker is a process


@dataclass(frozen=True)
class Way:
    """One way to start the same server: its name, its checkpoint, what it has in its environment beyond the recipe."""

    name: str
    checkpoint: Path
    env: Mapping[str, str]


def as_published(checkpoint: Path, folder: Path) -> Path:
    """The same checkpoint with a tokenizer of the published form: every possible merge, special tokens in one file only."""
    folder.mkdir()
    for file in checkpoint.iterdir():
        if not file.name.startswith("tokenizer"):
            os.link(file, folder / file.name) if same_disk(file, folder) else (folder / file.name).symlink_to(file)
    document = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    rank = document["model"]["vocab"]
    merges = []
    for token in rank:
        cuts = ((token[:place], token[place:]) for place in range(1, len(token)))
        pairs = [pair for pair in cuts if pair[0] in rank and pair[1] in rank]
        merges += sorted(pairs, key=lambda pair: (rank[pair[0]], rank[pair[1]]))
    document["model"]["merges"] = merges
    (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings.pop("added_tokens_decoder", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def same_disk(one: Path, other: Path) -> bool:
    """Whether a hard link between the two is possible."""
    return one.stat().st_dev == other.stat().st_dev


def ways(checkpoint: Path, folder: Path) -> list[Way]:
    """As it is; without all of it; and without one thing at a time."""
    (folder / "no-bytecode").mkdir()
    uncompiled = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder / "no-bytecode")}
    published = as_published(checkpoint, folder / "published")
    return [
        Way("as it is", checkpoint, {}),
        Way("without all of it", published, uncompiled | PROCESSES),
        Way("without bytecode", checkpoint, uncompiled),
        Way("with a process for the worker", checkpoint, PROCESSES),
        Way("with the published form of the tokenizer", published, {}),
    ]


def measure(interpreter: Path, checkpoint: Path) -> Result:
    """One start that reads everything from the disk, then all ways in turn, `TIMES` times."""
    with kept_on_failure("bench-phases") as folder:
        every = ways(checkpoint, folder)

        def start(way: Way, name: str) -> Start:
            port = free_port()
            command = recipe_command(way.checkpoint, port)
            env = command.env | dict(way.env)
            return by_hand(command.run_by(interpreter), env, port=port, log=folder / f"{name}.log", model=MODEL)

        start(every[0], "unmeasured")
        found: dict[str, list[Start]] = {way.name: [] for way in every}
        for turn, (number, way) in itertools.product(range(TIMES), enumerate(every)):
            found[way.name].append(start(way, f"{turn}-{number}"))
    return result(found, facts.versions(interpreter)["vllm"])


def ready(start: Start) -> float:
    """Seconds from the launch until the server answers."""
    return start.total - start.phases[FIRST_REQUEST] - start.phases["around"]


def result(found: dict[str, list[Start]], vllm: str) -> Result:
    """The record: medians over the starts of each way."""
    wall = {name: statistics.median(map(ready, starts)) for name, starts in found.items()}
    cpu = {name: statistics.median(start.cpu_s for start in starts) for name, starts in found.items()}
    now, before, *singles = found
    values = [
        Value(name="launch to ready, as it is", value=wall[now], unit="s", bar=BAR_S, detail=f"median of {TIMES}"),
        Value(name="launch to ready, without all of it", value=wall[before], unit="s"),
        Value(name="CPU time of all processes, as it is", value=cpu[now], unit="s"),
        Value(name="CPU time of all processes, without all of it", value=cpu[before], unit="s"),
    ]
    for name in singles:
        values += [
            Value(name=f"{name}: launch to ready", value=wall[name], unit="s"),
            Value(name=f"{name}: CPU time", value=cpu[name], unit="s"),
        ]
    for name in (now, before):
        for phase in found[name][0].phases:
            seconds = statistics.median(start.phases.get(phase, 0.0) for start in found[name])
            values.append(Value(name=f"{phase}, {name}", value=seconds, unit="s"))
    return result_of("start_phases", "Where does a start of the CPU server spend its time?", values, {"vllm": vllm})
