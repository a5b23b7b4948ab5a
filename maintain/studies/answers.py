"""What the records of a target answer: one tensor-parallel size against another, async scheduling on and off, memory."""

from collections.abc import Hashable, Sequence
from statistics import median

from helpers.bench.tune.study import Study, compared
from helpers.evals.catalogue import SEEDS
from helpers.evals.record import load_records
from helpers.evals.table import percent
from helpers.pages.markdown import Markdown, row, table
from helpers.paths import RECORDS
from helpers.recipes import load_model, load_target
from helpers.records.anchors import load_anchors, matching
from helpers.records.curves import LENGTHS, by_version, curves, options, speed_records, takes
from helpers.records.matrix import NEVER
from helpers.records.record import Point, RunRecord
from maintain.studies.copies import IN_TURN, POLICY_SINCE, beside_tools, routed, shares
from maintain.studies.machines import common, machines, ratio
from maintain.studies.runs import flags

OFF = "bare vllm serve, async scheduling off"  # the variant that compares with bare


def answers(target: str) -> Markdown:
    """Every question that the records of a target can answer."""
    records = speed_records(target)
    parts: list[str] = []
    for model in dict.fromkeys(record.model for record in records):
        own = sizes(records, model)
        parts += [
            own,
            releases(records, model),
            published(target, records, model),
            asynchronous(target, records, model),
        ]
        copies, tools = (RECORDS / target / "evidence" / f"{model}-{name}.json" for name in ("copies", "tool-load"))
        parts += [shares(copies) if copies.exists() and shares(copies) not in own else "", beside_tools(tools)]
    return Markdown("\n\n".join(filter(None, [machines(target), *parts, memory(records)])))


def sizes(records: list[RunRecord], model: str) -> str:
    """Tensor-parallel sizes and replicas of a model at equal load per GPU, where two of them have such points on one vLLM."""
    versions = by_version(records)
    parts = [_sizes(own, model, f" vLLM {version}," if len(versions) > 1 else "") for version, own in versions.items()]
    return "\n\n".join(filter(None, parts))


def _sizes(records: list[RunRecord], model: str, version: str) -> str:
    rows: list[str] = []
    for lengths in LENGTHS:
        found = curves(records, model, *lengths)
        for label, points in found.items():
            rows += pairs(found.get("TP1", []), label, points) if label != "TP1" else []
    if not rows:
        return ""
    own = [r for r in records if r.model == model and not r.serving.variant]
    days = ", ".join(sorted({f"{record.finished:%Y-%m-%d}" for record in own}))
    kinds = sorted({(len(record.machine.gpus), record.machine.cores) for record in own})
    hosts = " and ".join(f"{gpus} GPUs with {cores} CPU cores" for gpus, cores in kinds)
    text = (
        f"**Are more GPUs the better trade for {model}?** At equal load per GPU;{version} runs of {days} on hosts of {hosts}. "
        "The hosts are a part of each ratio:\n\n"
    ) + table(["tokens", "requests per GPU", "layout", "output tok/s per GPU", "tok/s per user", "against TP1"], rows)
    told = flags(records, model)
    text += f"\n\n{told}" if told else ""
    if any(" x TP" in line for line in rows):
        before = any(r.serving.replicas > 1 and r.finished.date() < POLICY_SINCE for r in own)
        text += f"\n\n{IN_TURN}" if before else ""
        text += f"\n\n{shares(RECORDS / records[0].target / 'evidence' / f'{model}-copies.json')}"
    return text


def releases(records: list[RunRecord], model: str) -> str:
    """The newest vLLM at every point that an older one has too, with the median ratio; empty where there is none."""
    (newest, own), *older = by_version([record for record in records if record.model == model]).items()
    found = [(version, before, *pair) for version, before in older for pair in common(before, own)]
    if not found:
        return ""
    rows = []
    for version, before, (_, label, tokens, users), early, late in found:
        runs = [takes(ran, model, early.input_tokens, early.output_tokens)[label][users] for ran in (before, own)]
        rates = (f"{point.output_tok_s_per_gpu:,.0f}, {point.tok_s_per_user:.1f}" for point in (early, late))
        rows.append(
            row(label, tokens, users, version, ", ".join(str(len(one)) for one in runs), *rates, ratio(early, late))
        )
    gpus = [late.output_tok_s_per_gpu / early.output_tok_s_per_gpu for *_, early, late in found]
    users = [late.tok_s_per_user / early.tok_s_per_user for *_, early, late in found]
    said = " and ".join(
        f"{median(ratios):.2f}x {each} ({min(ratios):.2f} to {max(ratios):.2f})"
        for each, ratios in (("per GPU", gpus), ("per user", users))
    )
    columns = ["layout", "tokens", "concurrency", "older vLLM", "runs of each", "older", newest, "newer over older"]
    return (
        f"**What did a newer vLLM change for {model}?** Output tok/s per GPU, then tok/s per user. The runs are of other hosts "
        f"and of the flags that the recipe had then, so both are a part of each ratio:\n\n{table(columns, rows)}\n\n"
        f"The median of these {len(rows)} points is {said}. A ratio per GPU below that per user may hold pauses, of a kernel "
        "that was compiled meanwhile for one."
    )


def layouts(target: str, model: str, labels: Sequence[str]) -> Markdown:
    """What each layout of a model (`TP1`, `4 x TP1`) gave at its best, with each vLLM that it ran on, or that it never ran."""
    by_vllm = by_version([record for record in speed_records(target) if record.model == model])
    found = {version: curves(own, model, *LENGTHS[0]) for version, own in by_vllm.items()}
    rows = []
    for label in labels:
        ran = {version: drawn[label] for version, drawn in found.items() if label in drawn}
        for version, points in ran.items():
            best = max(points, key=lambda point: point.output_tok_s_per_gpu)
            limit = f"{best.roofline_fraction:.0%}" if best.roofline_fraction else ""
            rate = f"{best.output_tok_s_per_gpu:,.0f} at concurrency {best.concurrency:,}"
            rows.append(row(label, gpus_of(label), rate, f"{best.tok_s_per_user:.1f}", limit, version))
        if not ran:
            copied = routed(RECORDS / target / "evidence" / f"{model}-copies.json", gpus_of(label))
            rows.append(row(label, gpus_of(label), *(copied or (NEVER, "", "", ""))))
    columns = ["layout", "GPUs", "most output tok/s per GPU", "tok/s per user", "of the roofline", "vLLM"]
    title = f"{model} on {load_target(target).title}, {LENGTHS[0][0]:,}/{LENGTHS[0][1]:,} tokens, from the records:"
    return Markdown(f"{title}\n\n{table(columns, rows)}")


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
        if base:
            where = f"{point.input_tokens:,}/{point.output_tokens:,}", base.concurrency
            gpu, user = point.output_tok_s_per_gpu, point.tok_s_per_user
            rows += [
                row(*where, "TP1", f"{base.output_tok_s_per_gpu:,.0f}", f"{base.tok_s_per_user:.1f}", ""),
                row(*where, label, f"{gpu:,.0f}", f"{user:.1f}", against(base, gpu, user)),
            ]
    return rows


def against(base: Point, gpu: float, user: float) -> str:
    """Output tok/s per GPU and tok/s per user as ratios to a point's."""
    return f"{gpu / base.output_tok_s_per_gpu:.2f}x per GPU, {user / base.tok_s_per_user:.2f}x per user"


def published(target: str, records: list[RunRecord], model: str) -> str:
    """Points that somebody published for vLLM, the same model, size, lengths and load: ours against theirs."""
    rows, ratios, anchors = [], [], load_anchors()
    for lengths in LENGTHS:
        found, ran = curves(records, model, *lengths), takes(records, model, *lengths)
        for anchor in matching(anchors, model, target, *lengths):
            label = f"TP{anchor.tensor_parallel}"
            own = [p for p in found.get(label, []) if p.concurrency == anchor.concurrency]
            if anchor.engine != "vLLM" or not own or not anchor.tok_s_per_user or own[0].tpot_ms.mean is None:
                continue
            gpu = own[0].output_tok_s_per_gpu / anchor.output_tok_s_per_gpu
            user = 1e3 / own[0].tpot_ms.mean / anchor.tok_s_per_user  # published: 1 / mean TPOT
            ratios.append(gpu)
            rows.append(
                row(
                    f"{lengths[0]:,}/{lengths[1]:,}",
                    label,
                    anchor.concurrency,
                    f"{own[0].output_tok_s_per_gpu:,.0f} (vLLM {ran[label][anchor.concurrency][-1][0].release})",
                    f"{anchor.output_tok_s_per_gpu:,.0f} (vLLM {anchor.version})",
                    f"{gpu:.2f}x per GPU, {user:.2f}x per user",
                    f"{own[0].tpot_ms.p90 / own[0].tpot_ms.p50:.2f}",
                )
            )
    if not rows:
        return ""
    columns = [
        "tokens",
        "layout",
        "concurrency",
        "output tok/s per GPU here",
        "published",
        "here over published",
        "TPOT p90 / p50 here",
    ]
    return (
        f"**How near do synthetic weights come to {model}'s own?** Published runs of vLLM with the true weights on this "
        "GPU, at the same size and concurrency; their lengths are drawn from 0.8 to 1.0 times these, another vLLM, "
        f"another host:\n\n{table(columns, rows)}\n\nFrom {min(ratios):.2f} to {max(ratios):.2f} times what was "
        f"published, per GPU; the median is {median(ratios):.2f}."
    )


def asynchronous(target: str, records: list[RunRecord], model: str) -> str:
    """TPOT without async scheduling against bare `vllm serve` of studies on the same stack, which have it on."""
    off = next((r for r in reversed(records) if r.model == model and r.serving.variant == OFF), None)
    if off is None:
        return ""

    def stack(document: RunRecord | Study, size: int) -> Hashable:
        return document.weights, document.versions["vllm"], tuple(document.machine.gpus[:1]), size

    bare = {
        load_of(point): point.tpot_ms.p50
        for study in compared(target, model)
        if stack(study, study.tensor_parallel_size) == stack(off, off.serving.tensor_parallel_size)
        for point in study.baseline.points
    }
    words = [
        f"{p.tpot_ms.p50 / on:.2f}x at concurrency {p.concurrency} ({p.tpot_ms.p50:.2f} against {on:.2f} ms)"
        for p in sorted(off.throughput, key=load_of)
        if (on := bare.get(load_of(p)))
    ]
    return (
        ""
        if not words
        else (
            "**What does async scheduling give?** It is on unless `--no-async-scheduling` turns it off. Off, bare `vllm serve` "
            f"of {model} has a TPOT of {', '.join(words)}, with vLLM {off.release}."
        )
    )


def load_of(point: Point) -> tuple[int, int, int]:
    """What a point was measured at."""
    return point.concurrency, point.input_tokens, point.output_tokens


def memory(records: list[RunRecord]) -> str:
    """Memory per GPU by model and size, from vLLM's own log."""
    needed = {"weights_gib", "kv_cache_gib", "kv_cache_tokens"}
    newest = {
        (r.model, r.serving.tensor_parallel_size): r
        for r in records
        if needed <= r.memory.keys() and not r.serving.variant
    }
    rows = []
    for (model, size), record in sorted(newest.items()):
        batched, share = (
            options(record.argv).get(f"--{name}") for name in ("max-num-batched-tokens", "gpu-memory-utilization")
        )
        tokens = record.memory["kv_cache_tokens"]
        rows.append(
            row(
                model,
                f"TP{size}",
                record.release,
                f"{record.memory['weights_gib']:.1f} GiB",
                f"{float(share[0]):.0%}" if share else "vLLM's default",
                f"{int(batched[0]):,}" if batched else "vLLM's default",
                f"{record.memory['kv_cache_gib']:.1f} GiB, {tokens:,.0f} tokens",
                f"{tokens / sum(LENGTHS[0]):,.0f}",
            )
        )
    columns = ["model", "layout", "vLLM", "weights", "share of the memory", "batched tokens", "left for the KV cache"]
    columns.append("requests of 2,048 tokens it holds")
    return (
        ""
        if not rows
        else (
            "**What fits?** GiB per GPU, tokens per server. `--max-num-seqs` bounds how many requests run at once too:\n\n"
            f"{table(columns, rows)}"
        )
    )


def scores(model: str) -> Markdown:
    """The published scores of a model, and what its evaluations gave here, or that none ran."""
    asked, lines = load_model(model).evals, []
    kept = {(r.eval, r.effort): (r, done) for done in load_records() if done.model == model for r in done.results}
    for name in SEEDS if asked else ():
        for effort, published in getattr(asked, name).items():
            result, done = kept.get((name, effort), (None, None))
            here = f"{percent(result.score)} on {done.target}, {done.finished:%Y-%m-%d}" if result and done else NEVER
            lines.append(row(name, effort, published, here))
    return Markdown(table(["evaluation", "reasoning effort", "published (%)", "measured here (%)"], lines))
