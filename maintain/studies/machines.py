"""One machine beside another: what their records gave at the same vLLM, model, size and load."""

from helpers.pages.markdown import row, table
from helpers.recipes import load_target, target_names
from helpers.records.curves import LENGTHS, curves, newest_of, options, speed_records
from helpers.records.record import Point, RunRecord
from maintain.studies.runs import flags

COLUMNS = ("model", "layout", "tokens", "concurrency")


def machines(target: str) -> str:
    """A table for each other target that measured something of this one's with the same newest vLLM; '' without one."""
    others = [name for name in target_names() if name != target and speed_records(name)]
    pairs = [(other, target) if is_first(other, target) else (target, other) for other in others]
    return "\n\n".join(filter(None, (beside(*pair) for pair in pairs)))


def is_first(name: str, other: str) -> bool:
    """Whether a target is listed before another, so that both their pages show one table."""
    return target_names().index(name) < target_names().index(other)


def beside(first: str, second: str) -> str:
    """Output tok/s per GPU and tok/s per user of two targets where both have a point, and the ratio of the second."""
    own, theirs = (newest_of(speed_records(name)) for name in (first, second))
    if not own or not theirs or own[0].release != theirs[0].release:
        return ""
    rows = [
        row(*where, *(f"{p.output_tok_s_per_gpu:,.0f}, {p.tok_s_per_user:,.1f}" for p in (one, two)), ratio(one, two))
        for where, one, two in common(own, theirs)
    ]
    if not rows:
        return ""
    titles = [load_target(name).title for name in (first, second)]
    return (
        f"**{titles[0]} or {titles[1]}?** Output tok/s per GPU, then tok/s per user, with vLLM {own[0].release} and each "
        "machine's own recipe. The machines are different hosts, so the hosts are a part of each ratio:\n\n"
        + table([*COLUMNS, *titles, f"{titles[1].split()[-1]} over {titles[0].split()[-1]}"], rows)
        + f"\n\n{room(titles, own, theirs)} {batched(titles, own, theirs)}\n\n{other_flags(titles, own, theirs)}"
    ).strip()


def common(own: list[RunRecord], theirs: list[RunRecord]) -> list[tuple[tuple[str, str, str, int], Point, Point]]:
    """Where two machines have a point of the same model, layout, lengths and concurrency: (where, one's, the other's)."""
    found = []
    for model in dict.fromkeys(record.model for record in own):
        for lengths in LENGTHS:
            there = curves(theirs, model, *lengths)
            for label, points in curves(own, model, *lengths).items():
                by_load = {point.concurrency: point for point in there.get(label, [])}
                tokens = f"{lengths[0]:,}/{lengths[1]:,}"
                found += [
                    ((model, label, tokens, p.concurrency), p, by_load[p.concurrency])
                    for p in points
                    if p.concurrency in by_load
                ]
    return sorted(found, key=lambda one: one[0])


def room(titles: list[str], own: list[RunRecord], theirs: list[RunRecord]) -> str:
    """The KV cache in tokens beside the weights on each machine, for what both served."""
    here, there = ({_layout(r): r.memory.get("kv_cache_tokens") for r in records} for records in (own, theirs))
    said = [
        f"{model} {label}: {here[model, label]:,.0f} tokens on {titles[0]}, {there[model, label]:,.0f} on {titles[1]}"
        for model, label in sorted(here.keys() & there.keys())
        if here[model, label] and there[model, label]
    ]
    return f"KV cache that one server has beside the weights: {'; '.join(said)}." if said else ""


def batched(titles: list[str], own: list[RunRecord], theirs: list[RunRecord]) -> str:
    """Where two servers of one layout may take different numbers of tokens in a step."""
    flag = "--max-num-batched-tokens"
    here, there = (
        {_layout(r): int(value) for r in records for value in options(r.argv).get(flag, ())}
        for records in (own, theirs)
    )
    said = [
        f"{model} {label} {here[model, label]:,} on {titles[0]} and {there[model, label]:,} on {titles[1]}"
        for model, label in sorted(here.keys() & there.keys())
        if here[model, label] != there[model, label]
    ]
    return (
        f"A step may take so many tokens (`{flag}`), which is a part of these ratios: {'; '.join(said)}."
        if said
        else ""
    )


def other_flags(titles: list[str], own: list[RunRecord], theirs: list[RunRecord]) -> str:
    """Which curves of either machine ran with other flags than its recipe's of today."""
    models = [model for model in dict.fromkeys(r.model for r in own) if model in {r.model for r in theirs}]
    return " ".join(
        f"On {title}: {told}"
        for title, records in zip(titles, (own, theirs), strict=True)
        if (told := " ".join(filter(None, (flags(records, model) for model in models))))
    )


def _layout(record: RunRecord) -> tuple[str, str]:
    return record.model, record.serving.label


def ratio(one: Point, two: Point) -> str:
    """How much of the first point's two speeds the second has."""
    gpu, user = two.output_tok_s_per_gpu / one.output_tok_s_per_gpu, two.tok_s_per_user / one.tok_s_per_user
    return f"{gpu:.2f}x per GPU, {user:.2f}x per user"
