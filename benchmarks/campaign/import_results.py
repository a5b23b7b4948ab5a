"""Take a packed campaign into the repository: records, what stands beside them, and a summary on stdout.

python -m benchmarks.campaign.import_results results.tgz --target h100 [--commit SHA]

Records of the recipe as it is lie in `recipes/records/<target>/`, those of a lever (a `variant`) in `levers/` below it, and
every take of both in `evidence/levers.json`: one row for each lever and load.
"""

import argparse
import json
import statistics
import subprocess
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from benchmarks.result import RECORDS as RESULTS
from benchmarks.result import Result
from helpers.bench.sweep import line_of
from helpers.bench.tune import Study, chosen
from helpers.bench.tune.profile import record_path
from helpers.bench.tune.table import outcome
from helpers.errors import UsageError
from helpers.paths import RECORDS, ROOT, shown
from helpers.records.record import Document, RunRecord

Ran = TypeVar("Ran", Document, Result)


def take(folder: Path, records: Path, commit: str | None, results: Path = RESULTS) -> list[str]:
    """Copy what a campaign's folder holds; returns one line per thing taken."""
    said, evidence, rows = [], records / "evidence", []
    for step in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()):
        lines, taken = take_record(step, records, commit)
        said += [*lines, *take_documents(step, records, commit, results), *take_evidence(step, evidence)]
        rows += taken
    oldest_first = sorted(folder.glob("*/distances.json"), key=lambda file: file.stat().st_mtime)
    last = {model_of(file.parent): file for file in oldest_first}  # it holds all that were there when it was written
    said += [add_distances(file, evidence / f"{model}-distances.json") for model, file in sorted(last.items())]
    if rows:
        said.append(write_table(evidence / "levers.json", rows))
    events = folder / "events.log"
    if events.exists():
        evidence.mkdir(parents=True, exist_ok=True)
        day = datetime.fromtimestamp(events.stat().st_mtime, UTC)
        write_log(evidence / f"{day:%Y%m%d}-campaign.log", events.read_text())
    return said


def take_record(step: Path, records: Path, commit: str | None) -> tuple[list[str], list[dict]]:
    """Copy the run record of a step to where its kind lies; the lines to say, and its rows of the levers' table."""
    record = step / "record.json"
    if not record.exists():
        return [], []
    content = json.loads(record.read_text())
    if content.get("weights") == "dummy":
        if content.get("state", "passed") != "passed":
            return [f"{step.name}: left out, its sweep did not end"], []
        return [copy(record, records / "evidence" / f"{model_of(step)}-dummy.json")], []
    read = whole(named(RunRecord.read(record), commit))
    name, place = f"{read.finished:%Y%m%d}-{step.name}.json", records
    if read.parameters.get("run_dir"):  # a notebook's: named as `cookbook render` and `publish` name it
        name = f"{read.finished:%Y%m%d-%H%M%S}-{read.model}-{read.weights}.json"
        read = read.model_copy(update={"parameters": read.parameters | {"run_dir": ""}})
    elif read.serving.variant:
        place = records / "levers"
    said = [f"{shown(read.write(place / name))}: {read.state} {read.why}"]
    said += [f"    {line_of(point)}  {point.roofline_fraction or 0:.0%}" for point in read.throughput]
    return said, lever_rows(read, step)


def take_documents(step: Path, records: Path, commit: str | None, results: Path) -> list[str]:
    """Copy the study and the hunt of a step, one that was cut off with what it had sent; the lines to say."""
    said = []
    if (step / "study.json").exists():
        study = settled(named(Study.read(step / "study.json"), commit))
        said.append(f"{shown(study.write(records / 'tuning' / record_path(study).name))}: {outcome(study)}")
    hunts = [step / name for name in ("hunt.json", "hunt-part.json") if (step / name).exists()]
    if hunts:
        found = named(Result.model_validate_json(hunts[0].read_text()), commit)
        known = results / f"{found.benchmark}.json"
        if known.exists() and sent(Result.model_validate_json(known.read_text())) > sent(found):
            return [*said, f"{step.name}: left out, {shown(known)} is of more requests"]
        said.append(
            f"{shown(found.write(results))}: python -m hunt.cases and python -m benchmarks.run --table follow it"
        )
    return said


def sent(hunt: Result) -> float:
    """How many requests a hunt sent."""
    return next(value.value for value in hunt.values if value.name == "requests")


def take_evidence(step: Path, evidence: Path) -> list[str]:
    """Copy what a step measured beside records; the lines to say. steps-part.json is of a run that was cut off."""
    named_by_step = ("steps.json", "answers.json", "tools.json", "tool-load.json", "copies.json", "recurring.json")
    files = [step / name for name in named_by_step]
    said = [copy(file, evidence / f"gpt-oss-{step.name}.json") for file in files if file.exists()]
    for found in (*step.glob("routing.json"), *step.glob("routing-*.json")):
        name = f"{step.name.partition('-')[2]}.json" if found.name == "routing.json" else found.name
        said.append(copy(found, evidence / f"{model_of(step)}-{name}"))
    return said


def add_distances(source: Path, target: Path) -> str:
    """Copy what a campaign compared; what an earlier one of the same release and card compared besides stays, with its day."""
    new, old = (json.loads(file.read_text()) if file.exists() else {} for file in (source, target))
    if old and all(old.get(key) == new.get(key) for key in ("vllm", "gpu", "weights")):
        kept = {name: {"day": old.get("day")} | one for name, one in old.get("distances", {}).items()}
        new["distances"] = {name: one for name, one in kept.items() if name not in new["distances"]} | new["distances"]
    return put(new, target)


def model_of(step: Path) -> str:
    """The model that a step's name begins with."""
    return "gpt-oss-" + step.name.split("-")[0]


def write_log(file: Path, text: str) -> None:
    """What a campaign said, beside what an earlier one of the same day said."""
    said = file.read_text() if file.exists() else ""
    file.write_text(said if text in said else said + text)


def lever_rows(record: RunRecord, step: Path) -> list[dict]:
    """A row for each load of a job, with every take of it; none for a notebook's run, which takes each once."""
    by_load: dict[tuple, list[dict]] = {}
    for file in sorted(step.glob("take-*/bench/c*.json")) + sorted(step.glob("once/bench/c*.json")):
        result = json.loads(file.read_text())
        asked = result["cookbook"]["settings"]
        load = asked["concurrency"], asked["input_tokens"], asked["output_tokens"]
        one = {
            "output_tok_s": result["output_throughput"],
            "tpot_ms": result["p50_tpot_ms"],
            "ttft_ms": result["p50_ttft_ms"],
            "prompts": asked["prompts"],
        }
        if "spec_decode_acceptance_length" in result:
            one["acceptance"] = result["spec_decode_acceptance_length"]
        by_load.setdefault(load, []).append({key: round(value, 3) for key, value in one.items()})
    about = {
        "model": record.model,
        "weights": record.weights,
        "step": step.name,
        "variant": record.serving.variant,
        "tensor_parallel_size": record.serving.tensor_parallel_size,
        "profile": record.serving.profile,
        "gpu": record.machine.gpus[0] if record.machine.gpus else record.machine.cpu,
        "driver": record.machine.driver,
        "host": f"{len(record.machine.gpus)} GPUs, {record.machine.cores} cores",
        "commit": record.commit,
        "versions": record.versions,
        "day": f"{record.finished:%Y-%m-%d}",
    }
    return [
        about
        | {
            "concurrency": users,
            "input_tokens": given,
            "output_tokens": asked,
            "takes": takes,
            "output_tok_s": statistics.median(one["output_tok_s"] for one in takes),
            "tpot_ms": statistics.median(one["tpot_ms"] for one in takes),
        }
        for (users, given, asked), takes in sorted(by_load.items())
    ]


def write_table(file: Path, rows: list[dict]) -> str:
    """The rows of every campaign so far; a campaign that is taken again replaces its own."""
    fresh = {(row["step"], row["day"], row["commit"]) for row in rows}
    before = json.loads(file.read_text())["rows"] if file.exists() else []
    kept = [row for row in before if (row["step"], row["day"], row["commit"]) not in fresh]
    return f"{put({'rows': [*kept, *rows]}, file)}: {len(rows)} rows"


def named(document: Ran, commit: str | None) -> Ran:
    """The document with the commit that ran, where its host could not tell: it had no git, or a copy with changes (`+`)."""
    told = document.commit != "unknown" and not document.commit.endswith("+")
    return document if told or not commit else document.model_copy(update={"commit": commit})


def known(commit: str) -> str:
    """The whole name of a commit of this checkout. Raises `UsageError` for one that it does not hold."""
    asked = ["git", "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise UsageError(
            f"--commit {commit} is no commit of this checkout", do="name the one that was carried to the host"
        )
    return done.stdout.strip()


def whole(record: RunRecord) -> RunRecord:
    """A sweep that a campaign's end cut off: its points are as good as any, and its notes name what it lacks."""
    if record.state == "passed" or not record.throughput or not record.why.startswith("not taken"):
        return record
    notes = [*record.notes, f"the borrowed host's time was over; {record.why}"]
    return record.model_copy(update={"state": "passed", "why": "", "notes": notes})


def settled(study: Study) -> Study:
    """A study with its choice, which a tuner that was cut off could not make any more."""
    won = chosen(study) if study.baseline else None
    return study.model_copy(update={"chosen": won.trial.name if won else None})


def copy(source: Path, target: Path) -> str:
    """Copy one JSON document."""
    return put(json.loads(source.read_text()), target)


def put(document: dict, target: Path) -> str:
    """Write one JSON document as records have it; returns its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=1) + "\n")
    return shown(target)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--target", default="h200")
    parser.add_argument("--commit", help="the commit that ran, for records that say `unknown` or end with `+`")
    options = parser.parse_args()
    try:
        commit = known(options.commit) if options.commit else None
    except UsageError as error:
        parser.error(error.line())
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(options.archive) as tar:
            tar.extractall(scratch, filter="data")
        (folder,) = Path(scratch).iterdir()
        print("\n".join(take(folder, RECORDS / options.target, commit)))


if __name__ == "__main__":
    main()
