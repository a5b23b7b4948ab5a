"""What a target's records hold and what they leave open: text for its pages, computed so that it cannot go stale."""

import json
from pathlib import Path

from helpers.pages.markdown import row, table
from helpers.paths import RECORDS
from helpers.recipes import NANO, Target
from helpers.recipes.command.replicas import POLICY
from helpers.records.age import age
from helpers.records.claims import OTHER_FLAGS, WEIGHTLESS, same_flags
from helpers.records.curves import (
    LENGTHS,
    curves,
    evidence_file,
    load_records,
    newest_of,
    options,
    points_of,
    speed_records,
)
from helpers.records.matrix import NEVER
from helpers.records.record import RunRecord
from helpers.runs.throughput import knee
from maintain.studies.runs import AGAIN, compiling, label, left_out, of_its_kind, phases, run_count, timed

SIZES = (1, 2, 4, 8)  # tensor-parallel sizes whose trade the figure is to show
ARCHITECTURES = {"x86_64": "x86-64", "aarch64": "64-bit Arm (aarch64)"}


def newest_passed(target: str, model: str = "") -> tuple[Path, RunRecord] | None:
    """The newest passed run of a target's notebook, of `model` if named: file and content. A sweep alone has no contracts."""
    read = [(path, RunRecord.read(path)) for path in sorted((RECORDS / target).glob("*.json"))]
    passed = [(path, record) for path, record in read if record.state == "passed" and record.contracts]
    passed = [(path, record) for path, record in passed if model in ("", record.model)]
    return max(passed, key=lambda pair: pair[1].finished, default=None)


def latest_passed(target: str, model: str = "") -> RunRecord | None:
    """The newest record of a target that passed, of `model` if named."""
    found = newest_passed(target, model)
    return found[1] if found else None


def machine_needs(target: Target) -> str:
    """Which machine the recipe is for."""
    memory = f"{target.device.memory_gib:g} GiB" if target.device.memory_gib else "8 GiB"
    system = f"Linux on {ARCHITECTURES[target.stack.architecture]}"
    if target.match.vendor == "cpu":
        return f"{system}, {memory} of memory, Python 3.11 or newer"
    shared = ", shared with the operating system" if target.device.unified_memory else " each"
    driver = f", {target.stack.driver}" if target.stack.driver else ""
    return f"{system} with {target.title} ({memory}{shared}){driver}"


def time_needed(record: RunRecord | None) -> str:
    """How long the run of a page took, or that none did."""
    if record is None:
        return NEVER
    minutes = (record.finished - record.started).total_seconds() / 60
    text = (
        f"{minutes:.1f} minutes on {record.machine.cores} cores once the stack is installed "
        f"(start-up {record.startup_s['total']:.0f} s), with {served(record)}{left_out(record)}"
    )
    others = other_starts(record).items()
    return text + "".join(f"; with profile {profile} the start took {seconds:.0f} s" for profile, seconds in others)


def other_starts(record: RunRecord) -> dict[str, float]:
    """Start-up in seconds with each other profile, from its newest passed record of the same run otherwise."""
    same = ("model", "weights", "machine", "versions", "state")
    read = [RunRecord.read(path) for path in sorted((RECORDS / record.target).glob("*.json"))]
    return {  # the files are named by their time
        other.serving.profile: other.startup_s["total"]
        for other in read
        if other.startup_s
        and not other.serving.variant
        and other.serving.profile != record.serving.profile
        and all(getattr(other, name) == getattr(record, name) for name in same)
    }


def served(record: RunRecord) -> str:
    """What a record measured: model, weights and vLLM, and how old that is."""
    return f"{record.model}, {record.weights} weights, vLLM {record.versions['vllm']} ({aged(record)})"


def aged(record: RunRecord) -> str:
    """How old a record is, in words."""
    return age(record.target, record.versions.get("vllm", "unknown"), record.finished.date()).words()


def headline(target: Target, model: str) -> str:
    """What the machine was measured at, in one line, or that nothing ran on it."""
    record = newest_speed(target, model)
    if record is None:
        return (
            "**Not run on this machine yet.** vLLM's own parser takes the command below. Continuous integration rehearses every "
            "cell on a CPU with gpt-oss-nano (`make test-all`)."
        )
    points = of_its_kind(record, speed_records(target.target))[0] or record.throughput
    first, top = points[0], max(points, key=lambda point: point.output_tok_s)
    nano = " These figures say nothing about gpt-oss itself." if record.model == NANO else ""
    return (
        f"**Measured here:** {record.model} ({record.weights} weights, {_devices(record)}, vLLM {record.release}, "
        f"{record.finished:%Y-%m-%d}; {aged(record)}) gave one user {first.tok_s_per_user:,.0f} tok/s, and "
        f"{top.output_tok_s:,.0f} output tok/s at {top.concurrency} requests in flight.{nano}"
    )


def newest_speed(target: Target, model: str) -> RunRecord | None:
    """The newest record of the recipe itself, of `model` and its page's lengths where there is one, with its newest vLLM."""
    records = [r for r in load_records(target.target) if r.state == "passed" and r.throughput and not r.serving.variant]
    single = [r for r in records if r.serving.replicas == 1 and r.throughput[0].concurrency == 1]
    newest = newest_of([r for r in single if r.model == model] or single)
    of_page = [r for r in newest if r.throughput[0].input_tokens == target.defaults.input_tokens]
    swept = [r for r in of_page if len(r.throughput) > 1]
    return next(reversed(swept or of_page or newest), None)


def _devices(record: RunRecord) -> str:
    if not record.machine.gpus:
        return f"{record.machine.cores} CPU cores"
    count = record.serving.tensor_parallel_size * record.serving.replicas
    return "one GPU" if count == 1 else f"{count} GPUs"


def drawn_model(target: Target, model: str, records: list[RunRecord]) -> str:
    """The model of the page's one figure: its own, where records draw it."""
    models = [name for name, *lengths in drawn(target, records) if lengths == [1024, 1024]]
    return model if model in models or not models else models[0]


def sentences(target: Target, model: str, records: list[RunRecord]) -> str:
    """Three sentences about the model of the page's figure: the knee, the memory, how far the physics would allow."""
    shown_model = drawn_model(target, model, records)
    record = newest_speed(target, shown_model)
    if record is None:
        return ""
    lengths = (record.throughput[0].input_tokens, record.throughput[0].output_tokens)
    points, runs = of_its_kind(record, records)
    at, first, last = knee(points), points[0], points[-1]
    where = "still gains at" if at is last else "has its knee at"
    top = max(points, key=lambda point: point.output_tok_s)
    beyond = (
        f"; the most was {top.output_tok_s:,.0f} in all at {top.concurrency}{run_count(runs, top.concurrency)}"
        if top.concurrency > at.concurrency
        else ""
    )
    said = [
        f"{record.model} on {_devices(record)} {where} {at.concurrency} requests in flight "
        f"({lengths[0]:,} tokens in, {lengths[1]:,} out): {at.output_tok_s:,.0f} output tok/s in all, "
        f"{at.tok_s_per_user:,.0f} tok/s for each user{run_count(runs, at.concurrency)}, against "
        f"{first.tok_s_per_user:,.0f} at {first.concurrency}{run_count(runs, first.concurrency)}{beyond}."
    ]
    if "kv_cache_tokens" in record.memory:
        said.append(
            f"The weights take {record.memory['weights_gib']:.1f} GiB of a GPU and leave {record.memory['kv_cache_gib']:.1f} GiB "
            f"for the KV cache, {record.memory['kv_cache_tokens']:,.0f} tokens."
        )
    if first.roofline_fraction and at.roofline_fraction:
        more = f", {at.roofline_fraction:.0%} at {at.concurrency}" if at is not first else ""
        said.append(
            f"The server reached {first.roofline_fraction:.0%} of what the hardware allows at {first.concurrency} in "
            f"flight{more}."
        )
    if compiled := compiling(points):
        said.append(
            f"Kernels were compiled while {' and '.join(map(str, compiled))} in flight were measured: read TPOT there, not TTFT."
        )
    if record.weights == "synthetic":
        said.append("The weights were synthetic, so these figures hold for speed and memory alone.")
    return " ".join(said)


def summary(records: list[RunRecord]) -> str:
    """A line per record, the newest first: what ran, how much of it, the memory that vLLM reported, and with which flags."""
    rows = []
    for record in reversed(records):
        top = max(record.throughput, key=lambda point: point.output_tok_s_per_gpu)
        cache = _memory(record, "kv_cache_gib", "{:.1f} GiB") + _memory(
            record, "kv_cache_tokens", ", {:,.0f} tokens", ""
        )
        rows.append(
            row(
                record.model,
                f"{record.weights}, {record.versions['vllm']}, {record.finished:%Y-%m-%d} ({aged(record)})",
                f"{record.serving.label} on {(record.machine.gpus or [record.machine.cpu])[0]}",
                len(record.throughput),
                f"{top.output_tok_s_per_gpu:,.0f} at concurrency {top.concurrency}, {top.input_tokens:,}/{top.output_tokens:,}",
                _memory(record, "weights_gib", "{:.1f} GiB"),
                cache,
                "today's" if same_flags(record) else OTHER_FLAGS,
            )
        )
    columns = [
        "model",
        "weights, vLLM",
        "GPUs",
        "points",
        "highest output tok/s per GPU, at tokens in/out",
        "weights",
        "KV cache",
        "flags",
    ]
    return table(columns, rows)


def starts(target: Target) -> str:
    """Each start with the pinned vLLM by phase, in the order in which they began; empty where there are not two."""
    found = timed(target)
    if len(found) < 2:
        return ""
    rows = [
        row(
            label(r) + "".join(f" ({note})" for note in r.notes if note.startswith(AGAIN)),
            f"{r.started:%Y-%m-%d %H:%M}",
            f"{len(r.machine.gpus)} GPU{'s' * (len(r.machine.gpus) > 1)}, {r.machine.cores} cores",
            *(f"{r.startup_s.get(name, 0):.0f}" for name in phases(found)),
            f"**{r.startup_s['total']:.0f}**",
        )
        for r in found
    ]
    return table(["server", "step began (UTC)", "GPUs and cores on record", *phases(found), "total"], rows)


def _memory(record: RunRecord, name: str, form: str, absent: str = "not recorded") -> str:
    return form.format(record.memory[name]) if name in record.memory else absent


def drawn(target: Target, records: list[RunRecord]) -> list[tuple[str, int, int]]:
    """(model, input tokens, output tokens) of each figure: where some configuration has two points or more."""
    return [
        (model, *lengths)
        for model in target.models
        for lengths in LENGTHS
        if any(len(points) > 1 for points in curves(records, model, *lengths).values())
    ]


def with_evidence(target: Target, what: str) -> list[str]:
    """The models of a target that have a measurement beside the run records."""
    return [model for model in target.models if evidence_file(target.target, model, what).exists()]


def not_taken(target: Target, records: list[RunRecord]) -> list[str]:
    """What the recipe offers and no record holds, named."""
    single = [r for r in records if r.serving.replicas == 1 and not r.serving.variant]
    pinned = [r for r in records if r.release == target.stack.vllm]
    missing: list[str] = []
    for model, offered in target.models.items():
        taken: dict[int, list[RunRecord]] = {}
        for record in single:
            if record.model == model:
                taken.setdefault(record.serving.tensor_parallel_size, []).append(record)
        sizes = [f"TP{size}" for size in SIZES if size in offered.tensor_parallel_size and size not in taken]
        missing += [f"{model} at {', '.join(sizes)}"] if sizes else []
        for size, own in sorted(taken.items()):
            for lengths in LENGTHS:
                load = f"{model} TP{size} at {lengths[0]:,}/{lengths[1]:,} tokens"
                if len(concurrencies(own, lengths)) < 2:
                    missing.append(load)
                elif pinned and len(concurrencies([r for r in own if r in pinned], lengths)) < 2:
                    missing.append(f"{load} with vLLM {target.stack.vllm}")
    asked = [one for record in records for one in record.contracts if one.state != "skipped"]
    spoken = {contract.model for contract in asked if contract.name not in WEIGHTLESS}
    silent = [model for model in target.models if model not in spoken]
    missing += [f"any reply of {' or '.join(silent)} itself"] if silent else []
    profiles = {record.serving.profile for record in records}
    levers = {record.serving.profile for record in load_records(target.target, RECORDS / target.target / "levers")}
    there = {name for name, one in target.serve.profiles.items() if levers and (one.moe or name in levers)}
    note = " on this page: [levers.ipynb](levers.ipynb) has its speed"
    missing += [f"the {name} profile{note * (name in there)}" for name in target.serve.profiles if name not in profiles]
    if not pinned:
        missing.append(f"vLLM {target.stack.vllm}, which the recipe installs")
    if not any(record.serving.replicas > 1 for record in records):
        told = [json.loads(file.read_text()) for file in (RECORDS / target.target / "evidence").glob("*-copies.json")]
        missing += [replicas_open({options(one["router"])["--policy"][0] for one in told})]
    return [line for line in missing if line]


def replicas_open(policies: set[str]) -> str:
    """What is open of replicas where no run record has them and copies ran behind a router of these policies."""
    if not policies:
        return "replicas, several servers behind one address"
    ran = " and ".join(f"`{name}`" for name in sorted(policies))
    return (
        ""
        if POLICY in policies
        else f"replicas with the router's policy of today (`{POLICY}`); copies above ran with {ran}"
    )


def concurrencies(records: list[RunRecord], lengths: tuple[int, int]) -> set[int]:
    """The concurrencies that records hold at a pair of lengths."""
    return {point.concurrency for record in records for point in points_of(record, *lengths)}
