"""What a target's records hold, and what they do not: text for its notebook, computed so that it cannot go stale."""

from pathlib import Path

from helpers.paths import RECORDS
from helpers.recipes import Target
from helpers.records.claims import OTHER_FLAGS, same_flags
from helpers.records.curves import LENGTHS, curves, evidence_file, points_of
from helpers.records.record import RunRecord

WEIGHTLESS = ("lifecycle",)  # contracts that hold whatever is served
SIZES = (1, 2, 4, 8)  # tensor-parallel sizes whose trade the figure is to show


def summary(records: list[RunRecord]) -> str:
    """A line per record: what ran, how much of it, the memory that vLLM reported, and with which flags."""
    lines = [
        "| model | weights, vLLM | GPUs | points | highest output tok/s per GPU | weights | KV cache | flags |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        top = max(record.throughput, key=lambda point: point.output_tok_s_per_gpu)
        cells = [
            record.model,
            f"{record.weights}, {record.versions['vllm']}, {record.finished:%Y-%m-%d}",
            f"{record.serving.label} on {record.machine.gpus[0] if record.machine.gpus else record.machine.cpu}",
            str(len(record.throughput)),
            f"{top.output_tok_s_per_gpu:,.0f} at concurrency {top.concurrency}",
            _memory(record, "weights_gib", "{:.1f} GiB"),
            _memory(record, "kv_cache_gib", "{:.1f} GiB") + _memory(record, "kv_cache_tokens", ", {:,.0f} tokens", ""),
            "today's" if same_flags(record) else OTHER_FLAGS,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


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


def not_taken(target: Target, records: list[RunRecord], evidence: Path | None = None) -> list[str]:
    """What the records leave open, named; `evidence` is the folder beside them with what is no run record."""
    evidence = evidence or RECORDS / target.target / "evidence"
    open_: list[str] = []
    for model, offered in target.models.items():
        own = [record for record in records if record.model == model and not record.serving.variant]
        taken = {record.serving.tensor_parallel_size for record in own if record.serving.replicas == 1}
        sizes = [f"TP{size}" for size in SIZES if size in offered.tensor_parallel_size and size not in taken]
        open_ += [f"{model} at {', '.join(sizes)}"] if sizes else []
        open_ += missing_points(model, own, records)
    spoken = {contract.model for record in records for contract in record.contracts if contract.group not in WEIGHTLESS}
    silent = [model for model in target.models if model not in spoken]
    open_ += [f"any contract with {' or '.join(silent)} itself"] if silent else []
    profiles = {record.serving.profile for record in records}
    open_ += [f"the {profile} profile" for profile in target.serve.profiles if profile not in profiles]
    if target.stack.vllm not in {record.versions["vllm"].split("+")[0] for record in records}:
        open_.append(f"vLLM {target.stack.vllm}, which the recipe installs")
    if not any(record.serving.replicas > 1 for record in records):
        open_.append("replicas, several servers behind one address")
    variants = " ".join(record.serving.variant for record in records)
    if "async scheduling" not in variants:
        open_.append("async scheduling off against on")
    if not list(evidence.glob("*-dummy.json")):
        open_.append("dummy weights against synthetic ones")
    if not list(evidence.glob("*routing*.json")):
        open_.append("the share of experts that a step hits (how evenly the synthetic weights route)")
    return open_


def missing_points(model: str, own: list[RunRecord], records: list[RunRecord]) -> list[str]:
    """The lengths that a size of a model has no point of, and the concurrencies that another sweep of them has."""
    single = [record for record in records if record.serving.replicas == 1 and not record.serving.variant]
    sizes: dict[int, list[RunRecord]] = {}
    for record in own:
        if record.serving.replicas == 1:
            sizes.setdefault(record.serving.tensor_parallel_size, []).append(record)
    open_ = []
    for size, taken in sorted(sizes.items()):
        for lengths in LENGTHS:
            found, others = concurrencies(taken, lengths), concurrencies(single, lengths)
            words = f"{model} TP{size} at {lengths[0]:,}/{lengths[1]:,} tokens"
            if not found:
                open_.append(words)
            elif missing := sorted(others - found):
                open_.append(f"{words} and concurrency {', '.join(map(str, missing))}")
    return open_


def concurrencies(records: list[RunRecord], lengths: tuple[int, int]) -> set[int]:
    """The concurrencies that records hold at a pair of lengths."""
    return {point.concurrency for record in records for point in points_of(record, *lengths)}
