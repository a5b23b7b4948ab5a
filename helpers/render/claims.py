"""What a page says about time and verification, taken from the records in the repository."""

from pathlib import Path

from helpers.bench.record import RunRecord
from helpers.paths import RECORDS
from helpers.recipes import Target


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
    if target.match.vendor == "cpu":
        return f"Linux on x86-64, {memory} of memory, Python 3.11 or newer"
    return f"Linux on x86-64 with {target.title} ({memory} each)"


def time_needed(target: str) -> str:
    """How long the recorded run took, or that none did."""
    record = latest_passed(target)
    if record is None:
        return "never run here"
    minutes = (record.finished - record.started).total_seconds() / 60
    cores, startup = record.machine.cores, record.startup_s["total"]
    return f"{minutes:.1f} minutes on {cores} cores once the stack is installed (start-up {startup:.0f} s)"


def verified(target: str) -> str:
    """What the newest record stands for, or that there is none."""
    record = latest_passed(target)
    if record is None:
        return "never run here"
    passed = sum(contract.state == "passed" for contract in record.contracts)
    spoke = ", ".join(sorted({f"{c.model} ({c.weights} weights)" for c in record.contracts}))
    return (
        f"{record.finished:%Y-%m-%d}, vLLM {record.versions['vllm']}: {passed} contracts with {spoke}; "
        f"{len(record.throughput)} throughput points with {record.model} ({record.weights} weights)"
    )
