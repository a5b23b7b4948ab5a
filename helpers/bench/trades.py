"""What the records of a target answer: one tensor-parallel size against another, async scheduling on and off, memory."""

from dataclasses import dataclass

from helpers.bench.record import Point, RunRecord
from helpers.bench.records import curves, speed_records
from helpers.tune.study import studies

OFF = "bare vllm serve, async scheduling off"  # the variant that compares with bare
LENGTHS = (1024, 1024)


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
        part for model in models for part in (sizes(records, model), asynchronous(target, records, model))
    ]
    return Answer("\n\n".join(filter(None, [*parts, memory(records)])))


def sizes(records: list[RunRecord], model: str) -> str:
    """Tensor-parallel sizes and replicas of a model at equal load per GPU, where two of them have such points."""
    found = curves(records, model, *LENGTHS)
    single = found.get("TP1", [])
    rows = [row for label, points in found.items() if label != "TP1" for row in pairs(single, label, points)]
    if not rows:
        return ""
    head = [
        f"**Is a larger tensor-parallel size the better trade for {model}, or are copies?** At equal load per GPU:"
        if any(" x " in label for label in found)
        else f"**Is a larger tensor-parallel size the better trade for {model}?** At equal load per GPU:",
        "",
        "| requests per GPU | | output tok/s per GPU | tok/s per user | against TP1 |",
        "|---|---|---|---|---|",
    ]
    copies = any(" x " in label for label in found)
    foot = ["", "Copies stand behind one router and are asked by one load client: which of the two, or the host's CPUs, "
                "takes what is lost against TP1 was not measured."] if copies else []  # fmt: skip
    return "\n".join([*head, *rows, *foot])


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
        rows += [f"| {base.concurrency} | TP1 | {base.output_tok_s_per_gpu:,.0f} | {base.tok_s_per_user:.1f} | |",
                 f"| {base.concurrency} | {label} | {point.output_tok_s_per_gpu:,.0f} | {point.tok_s_per_user:.1f} | "
                 f"{gpu:.2f}x per GPU, {user:.2f}x per user |"]  # fmt: skip
    return rows


def asynchronous(target: str, records: list[RunRecord], model: str) -> str:
    """TPOT without async scheduling against bare `vllm serve` of studies on the same stack, which have it on."""
    off = next((r for r in reversed(records) if r.model == model and r.parameters.get("variant") == OFF), None)
    if off is None:
        return ""
    kind = lambda one, size: (one.weights, one.versions["vllm"], one.machine.gpus[:1], size)  # noqa: E731
    wanted = kind(off, off.parameters["tensor_parallel_size"])
    bare = {
        (p.concurrency, p.input_tokens, p.output_tokens): p.tpot_ms.p50
        for study in studies(target, model)
        if study.baseline and kind(study, study.tensor_parallel_size) == wanted
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
        sequences = held["kv_cache_tokens"] / sum(LENGTHS)
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
