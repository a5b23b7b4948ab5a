"""Take a packed campaign into the repository: records, what stands beside them, and a summary on stdout.

python -m benchmarks.h200.import_results results.tgz [--commit SHA]
"""

import argparse
import json
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from helpers.bench.record import Document, RunRecord
from helpers.bench.sweep import line_of
from helpers.paths import RECORDS, shown
from helpers.tune import Study, chosen
from helpers.tune.profile import record_path
from helpers.tune.table import outcome


def take(folder: Path, records: Path, commit: str | None) -> list[str]:
    """Copy what a campaign's folder holds; returns one line per thing taken."""
    said, evidence = [], records / "evidence"
    for step in sorted(path for path in folder.iterdir() if path.is_dir()):
        record, model = step / "record.json", "gpt-oss-" + step.name.split("-")[0]
        if record.exists() and (dummy := json.loads(record.read_text())).get("weights") == "dummy":
            if dummy.get("state", "passed") == "passed":
                said.append(copy(record, evidence / f"{model}-dummy.json"))
            else:
                said.append(f"{step.name}: left out, its sweep did not end")
        elif record.exists():
            read = whole(named(RunRecord.read(record), commit))
            day = f"{read.finished:%Y%m%d}"
            said.append(f"{shown(read.write(records / f'{day}-{step.name}.json'))}: {read.state}")
            said += [f"    {line_of(point)}  {point.roofline_fraction or 0:.0%}" for point in read.throughput]
        if (step / "study.json").exists():
            study = settled(named(Study.read(step / "study.json"), commit))
            said.append(
                f"{shown(study.write(records / 'tuning' / record_path(study).name))}: {outcome(study)}"
            )
        for profile in step.glob("steps.json"):  # steps-part.json is of a run that was cut off
            said.append(copy(profile, evidence / f"gpt-oss-{step.name}.json"))
        for answers in step.glob("answers.json"):
            said.append(copy(answers, evidence / f"gpt-oss-{step.name}.json"))
        for routing in step.glob("routing-*.json"):
            said.append(copy(routing, evidence / f"{model}-{routing.name}"))
    events = folder / "events.log"
    if events.exists():
        evidence.mkdir(parents=True, exist_ok=True)
        day = datetime.fromtimestamp(events.stat().st_mtime, UTC)
        (evidence / f"{day:%Y%m%d}-campaign.log").write_text(events.read_text())
    return said


def named(document: Document, commit: str | None) -> Document:
    """The document with the commit that ran, where its host had no git to tell it."""
    return document.model_copy(update={"commit": commit}) if commit and document.commit == "unknown" else document


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
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(json.loads(source.read_text()), indent=1) + "\n")
    return shown(target)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--target", default="h200")
    parser.add_argument("--commit", help="the commit that ran, where the host had no git")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(options.archive) as tar:
            tar.extractall(scratch, filter="data")
        (folder,) = Path(scratch).iterdir()
        print("\n".join(take(folder, RECORDS / options.target, options.commit)))


if __name__ == "__main__":
    main()
