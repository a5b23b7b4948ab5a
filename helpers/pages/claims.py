"""What a page says about time and verification, taken from the records in the repository."""

from collections import Counter
from pathlib import Path

from helpers.paths import RECORDS
from helpers.recipes import Target
from helpers.records.record import RunRecord

ARCHITECTURES = {"x86_64": "x86-64", "aarch64": "64-bit Arm (aarch64)"}


def newest_passed(target: str) -> tuple[Path, RunRecord] | None:
    """The file and content of the newest passed run of a target's notebook (a sweep alone has no contracts)."""
    read = [(path, RunRecord.read(path)) for path in sorted((RECORDS / target).glob("*.json"))]
    passed = [(path, record) for path, record in read if record.state == "passed" and record.contracts]
    return max(passed, key=lambda pair: pair[1].finished, default=None)


def latest_passed(target: str) -> RunRecord | None:
    """The newest record of a target that passed."""
    found = newest_passed(target)
    return found[1] if found else None


def machine_needs(target: Target) -> str:
    """Which machine the recipe is for."""
    memory = f"{target.device.memory_gib:g} GiB" if target.device.memory_gib else "8 GiB"
    system = f"Linux on {ARCHITECTURES[target.stack.architecture]}"
    if target.match.vendor == "cpu":
        return f"{system}, {memory} of memory, Python 3.11 or newer"
    driver = f", {target.stack.driver}" if target.stack.driver else ""
    if target.device.unified_memory:
        return f"{system} with {target.title} ({memory}, shared with the operating system){driver}"
    return f"{system} with {target.title} ({memory} each){driver}"


def time_needed(target: str) -> str:
    """How long the recorded run took, or that none did."""
    record = latest_passed(target)
    if record is None:
        return "never run here"
    minutes = (record.finished - record.started).total_seconds() / 60
    cores, startup = record.machine.cores, record.startup_s["total"]
    return (
        f"{minutes:.1f} minutes on {cores} cores once the stack is installed (start-up {startup:.0f} s), "
        f"with {served(record)}"
    ) + "".join(
        f"; with profile {profile} the start took {seconds:.0f} s" for profile, seconds in other_starts(record).items()
    )


def other_starts(record: RunRecord) -> dict[str, float]:
    """Start-up in seconds with each other profile, from its newest passed record of the same run otherwise."""
    found = {}
    for path in sorted((RECORDS / record.target).glob("*.json")):
        other = RunRecord.read(path)
        same = all(
            getattr(other, name) == getattr(record, name) for name in ("model", "weights", "machine", "versions")
        )
        profile = other.serving.profile
        if same and other.state == "passed" and other.startup_s and profile != record.serving.profile:
            found[profile] = other.startup_s["total"]  # the files are named by their time
    return found


def served(record: RunRecord) -> str:
    """What a record measured: model, weights and vLLM."""
    return f"{record.model}, {record.weights} weights, vLLM {record.versions['vllm']}"


def verified(target: str) -> str:
    """What the newest record stands for, or that there is none."""
    record = latest_passed(target)
    if record is None:
        return "never run here"
    held = Counter(f"{c.model} ({c.weights} weights)" for c in record.contracts if c.state == "passed")
    spoke = ", ".join(f"{count} contract{'' if count == 1 else 's'} with {who}" for who, count in held.most_common())
    return (
        f"{record.finished:%Y-%m-%d}, vLLM {record.versions['vllm']}: {spoke}; "
        f"{len(record.throughput)} throughput points with {record.model} ({record.weights} weights)"
    )
