"""What the records of a target answer: one tensor-parallel size against another, async scheduling on and off, memory."""

from dataclasses import dataclass
from statistics import median

from helpers.bench.anchors import load_anchors, matching
from helpers.bench.record import Point, RunRecord
from helpers.bench.records import LENGTHS, by_version, curves, speed_records
from helpers.tune.study import compared

OFF = "bare vllm serve, async scheduling off"  # the variant that compares with bare
COPIES = (
    "Copies stand behind one router, which deals requests out in turn, and are asked by one load client. Which of these, or the "
    "host's CPUs, or other flags than TP1's takes what is lost was not measured."
)


@dataclass(frozen=True, repr=False)
class Answer:
    """A Markdown text over records; a notebook shows it as such."""

    markdown: str

    def _repr_markdown_(self) -> str:
        return self.markdown

    def __repr__(self) -> str:
        return self.markdown


def answers(target: str) -> Answer:
    """Every question that the records of a target can answer."""
    records = speed_records(target)
    models = list(dict.fromkeys(record.model for record in records))
    parts = [
        part
        for model in models
        for part in (sizes(records, model), published(target, records, model), asynchronous(target, records, model))
    ]
    return Answer("\n\n".join(filter(None, [*parts, memory(records)])))


def sizes(records: list[RunRecord], model: str) -> str:
    """Tensor-parallel sizes and replicas of a model at equal load per GPU, where two of them have such points on one vLLM."""
    versions = by_version(records)
    parts = [_sizes(own, model, f"vLLM {version}, " if len(versions) > 1 else "") for version, own in versions.items()]
    return "\n\n".join(filter(None, parts))


def _sizes(records: list[RunRecord], model: str, version: str) -> str:
    rows, labels = [], []
    for lengths in LENGTHS:
        found = curves(records, model, *lengths)
        for label, points in found.items():
            if label != "TP1" and (own := pairs(found.get("TP1", []), label, points)):
                rows += own
                labels.append(label)
    if not rows:
        return ""
    copies = [label for label in labels if " x " in label]
    larger = len(copies) < len(labels)
    asked = "Is a larger tensor-parallel size" if larger else "Are copies behind one address"
    asked += ", or are copies," if larger and copies else ""
    head = [
        f"**{asked} the better trade for {model}?** At equal load per GPU ({version}{taken(records, model)}: what differs "
        "between hosts is inside these ratios):",
        "",
        "| tokens | requests per GPU | | output tok/s per GPU | tok/s per user | against TP1 |",
        "|---|---|---|---|---|---|",
    ]
    foot = ["", COPIES] if copies else []
    return "\n".join([*head, *rows, *foot])


def taken(records: list[RunRecord], model: str) -> str:
    """On which days and on how many hosts' kinds the runs of a model were taken."""
    own = [r for r in records if r.model == model and not r.parameters.get("variant")]
    days = sorted({f"{record.finished:%Y-%m-%d}" for record in own})
    kinds = sorted({(len(record.machine.gpus), record.machine.cores) for record in own})
    hosts = " and ".join(f"{gpus} GPUs with {cores} CPU cores" for gpus, cores in kinds)
    return f"runs of {', '.join(days)} on hosts of {hosts}"


def gpus_of(label: str) -> int:
    """How many GPUs a configuration of `curves` takes.

    >>> gpus_of("TP2"), gpus_of("4 x TP1")
    (2, 4)
    """
    *copies, size = label.split(" x ")
    return int(size.removeprefix("TP")) * (int(copies[0]) if copies else 1)


def pairs(single: list[Point], label: str, points: list[Point]) -> list[str]:
    """Table rows of the points of a configuration that TP1 has at the same number of requests per GPU."""
    gpus, rows = gpus_of(label), []
    by_load = {point.concurrency: point for point in single}
    for point in points:
        base = by_load.get(point.concurrency / gpus)
        if base is None:
            continue
        gpu, user = (
            point.output_tok_s_per_gpu / base.output_tok_s_per_gpu,
            point.tok_s_per_user / base.tok_s_per_user,
        )
        where = f"| {point.input_tokens:,}/{point.output_tokens:,} | {base.concurrency} |"
        rows += [f"{where} TP1 | {base.output_tok_s_per_gpu:,.0f} | {base.tok_s_per_user:.1f} | |",
                 f"{where} {label} | {point.output_tok_s_per_gpu:,.0f} | {point.tok_s_per_user:.1f} | "
                 f"{gpu:.2f}x per GPU, {user:.2f}x per user |"]  # fmt: skip
    return rows


def published(target: str, records: list[RunRecord], model: str) -> str:
    """Points that somebody published for vLLM, the same model, size, lengths and load: ours against theirs."""
    rows, ratios, anchors = [], [], load_anchors()
    for lengths in LENGTHS:
        found = curves(records, model, *lengths)
        for anchor in matching(anchors, model, target, *lengths):
            own = [p for p in found.get(f"TP{anchor.tensor_parallel}", []) if p.concurrency == anchor.concurrency]
            if anchor.engine != "vLLM" or not own or not anchor.tok_s_per_user or own[0].tpot_ms.mean is None:
                continue
            gpu = own[0].output_tok_s_per_gpu / anchor.output_tok_s_per_gpu
            user = 1e3 / own[0].tpot_ms.mean / anchor.tok_s_per_user  # published: 1 / mean TPOT
            ratios.append(gpu)
            rows.append(
                f"| {lengths[0]:,}/{lengths[1]:,} | TP{anchor.tensor_parallel} | {anchor.concurrency} | "
                f"{own[0].output_tok_s_per_gpu:,.0f} | {anchor.output_tok_s_per_gpu:,.0f} (vLLM {anchor.version}) | "
                f"{gpu:.2f}x per GPU, {user:.2f}x per user | {own[0].tpot_ms.p90 / own[0].tpot_ms.p50:.2f} |"
            )
    if not rows:
        return ""
    head = [
        f"**How near do synthetic weights come to {model}'s own?** Published runs of vLLM with the true weights, on this GPU, "
        "at the same size and concurrency (their lengths are drawn from 0.8 to 1.0 times these, another vLLM, another host). "
        "The last column tells how even the requests of our point were: near 1, all had the same TPOT.",
        "",
        "| tokens | | concurrency | output tok/s per GPU here | published | | TPOT p90 / p50 here |",
        "|---|---|---|---|---|---|---|",
    ]
    foot = f"From {min(ratios):.2f} to {max(ratios):.2f} times what was published, per GPU; the median is {median(ratios):.2f}."
    return "\n".join([*head, *rows, "", foot])


def asynchronous(target: str, records: list[RunRecord], model: str) -> str:
    """TPOT without async scheduling against bare `vllm serve` of studies on the same stack, which have it on."""
    off = next((r for r in reversed(records) if r.model == model and r.parameters.get("variant") == OFF), None)
    if off is None:
        return ""
    kind = lambda one, size: (one.weights, one.versions["vllm"], one.machine.gpus[:1], size)  # noqa: E731
    wanted = kind(off, off.parameters["tensor_parallel_size"])
    bare = {
        (p.concurrency, p.input_tokens, p.output_tokens): p.tpot_ms.p50
        for study in compared(target, model)
        if kind(study, study.tensor_parallel_size) == wanted
        for p in study.baseline.points
    }
    points = {(p.concurrency, p.input_tokens, p.output_tokens): p.tpot_ms.p50 for p in off.throughput}
    if not (shared := sorted(points.keys() & bare.keys())):
        return ""
    words = ", ".join(
        f"{points[load] / bare[load]:.2f}x at concurrency {load[0]} ({points[load]:.2f} against {bare[load]:.2f} ms)"
        for load in shared
    )
    return (
        f"**What does async scheduling give?** It is on unless `--no-async-scheduling` turns it off. Off, bare `vllm serve` "
        f"of {model} has a TPOT of {words}."
    )


def memory(records: list[RunRecord]) -> str:
    """Memory per GPU by model and size, from vLLM's own log."""
    needed = {"weights_gib", "kv_cache_gib", "kv_cache_tokens"}
    plain = [r for r in records if needed <= r.memory.keys() and not r.parameters.get("variant")]
    newest = {(r.model, r.parameters.get("tensor_parallel_size", 1)): r for r in plain}
    if not newest:
        return ""
    rows = []
    for (model, size), record in sorted(newest.items()):
        words = record.argv
        flag = "--max-num-batched-tokens"
        chunk = f"{int(words[words.index(flag) + 1]):,}" if flag in words else "vLLM's default"
        held = record.memory
        sequences = held["kv_cache_tokens"] / sum(LENGTHS[0])
        rows.append(
            f"| {model} | TP{size} | {held['weights_gib']:.1f} GiB | {chunk} | {held['kv_cache_gib']:.1f} GiB, "
            f"{held['kv_cache_tokens']:,.0f} tokens | {sequences:,.0f} |"
        )
    head = [
        "**What fits?** With vLLM's default share of the memory (`--gpu-memory-utilization`), GiB per GPU, tokens per server:",
        "",
        "| model | | weights | batched tokens | left for the KV cache | requests of 2,048 tokens it holds* |",
        "|---|---|---|---|---|---|",
    ]
    foot = "\\* As memory goes; how many run at once is bounded by `--max-num-seqs` too (1,024 by default on such GPUs)."
    return "\n".join([*head, *rows, "", foot])
