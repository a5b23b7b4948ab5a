"""The tables of the page about levers: what each gave, where a draft pays, memory, distances, routing."""

import json
from statistics import median
from typing import Any

from helpers.pages.markdown import row, table
from helpers.paths import RECORDS
from helpers.recipes import load_target
from helpers.records.curves import load_records
from maintain.pages.levers.aims import apart
from maintain.pages.levers.rows import (
    BARE,
    BASE,
    BOTH,
    SHORT,
    accepted,
    elsewhere,
    host_of,
    levers,
    measured,
    name_of,
    other_hosts,
    pairs,
    ratio,
    same_host,
    singles,
    step_ms,
)


def against(one: dict[str, Any], base: dict[str, Any] | None) -> str:
    """Both ratios of a row to another, in words; marked where the other ran elsewhere."""
    if base is None or base is one:
        return ""
    mark = "" if same_host(one, base) else " *"
    return f"{ratio(one, base, 'output_tok_s'):.2f}x, {ratio(one, base, 'tpot_ms'):.2f}x{mark}"


def rows_of(target: str, model: str) -> str:
    """Each lever at each concurrency: what it gave, and its ratios to the throughput profile and to bare vLLM."""
    newest = [one for points in levers(target, model).values() for one in points.values()]
    older = {id(base): base for one in newest for base in one["bases"].values() if same_host(one, base)}
    rows = {id(one): one for one in newest} | older  # a host's own bases stay where another host's are newer
    order = list(dict.fromkeys(host_of(one) for one in singles(target, model)))[::-1]  # the newest first
    hosts = [host for host in order if any(host_of(one) == host for one in rows.values())]
    cells = []
    for one in sorted(rows.values(), key=lambda one: (hosts.index(host_of(one)), one["name"], one["concurrency"])):
        rates = [take["output_tok_s"] for take in one["takes"]]
        spread = f", {apart(one, 'output_tok_s'):.0%} and {apart(one, 'tpot_ms'):.0%}" if len(rates) > 1 else ""
        ttft = median(take["ttft_ms"] for take in one["takes"])
        speed = f"{one['output_tok_s']:,.0f}", f"{ttft:,.0f} ms", f"{one['tpot_ms']:.2f} ms"
        base, bare = one["bases"].get(SHORT[BASE]), one["bases"].get(BARE)
        elsewhere_only = base and not same_host(one, base) and bare and same_host(one, bare)  # bare of its host says it
        ratios = against(one, None if one["name"] == BARE or elsewhere_only else base), against(one, bare)
        where = hosts.index(host_of(one)) + 1
        cells.append([one["name"], one["concurrency"], where, *speed, f"{len(rates)}{spread}", *ratios])
    speeds = ["output tok/s", "TTFT p50", "TPOT p50", "runs, spread of tok/s and TPOT"]
    columns = ["", "in flight", "host", *speeds, "against the throughput profile", "against bare `vllm serve`"]
    needless = {2} if len(hosts) == 1 else set()
    needless |= set() if any(line[-2] for line in cells) else {len(columns) - 2}
    kept = [[cell for at, cell in enumerate(line) if at not in needless] for line in (columns, *cells)]
    days = ", ".join(f"{number} on {host[0]}" for number, host in enumerate(hosts, 1))
    numbered = f"\n\nHosts, the newest first: {days}." if len(hosts) > 1 else ""
    return table(kept[0], [row(*line) for line in kept[1:]]) + numbered


def speedup(one: dict[str, Any], base: dict[str, Any], users: int) -> str:
    """The ratio of output tok/s at a concurrency, in words."""
    return f"{ratio(one, base, 'output_tok_s'):.2f}x at {users}"


def before(target: str, model: str) -> str:
    """What the levers gave on a host before the newest, against bare vLLM of that host or else its throughput profile."""
    lines = []
    for day, own in other_hosts(target, model):
        base = next((name for name in (BARE, SHORT[BASE]) if name in own), "")
        others = {name: points for name, points in own.items() if base and name not in (base, BARE)}
        ratios = [
            f"{name} {', '.join(speedup(points[n], own[base][n], n) for n in shared)}"
            for name, points in others.items()
            if (shared := sorted(points.keys() & own[base].keys()))
        ]
        if ratios:
            lines.append(f"On another host ({day}), output tok/s against {base}: {'; '.join(ratios)}.")
        elif base == BARE:
            alone = ", ".join(f"{one['output_tok_s']:,.0f} at {n}" for n, one in sorted(own[BARE].items()))
            where = next(iter(own[BARE].values()))["host"]
            lines.append(f"On another host ({day}, {where}) bare vllm serve gave, in output tok/s: {alone}.")
    return "\n\n".join(lines)


def gave(name: str, key: str) -> str:
    """The range of a lever's ratios to bare vLLM over the concurrencies that both have, for each machine and model."""
    said = []
    for target, model in measured():
        if both := pairs(levers(target, model), name, BARE).values():
            ratios = [ratio(*pair, key) for pair in both]
            mark = "" if all(same_host(*pair) for pair in both) else " *"
            where = f"{model.removeprefix('gpt-oss-')} on {load_target(target).title.split()[-1]}"
            said.append(f"{min(ratios):.2f} to {max(ratios):.2f}x ({where}){mark}")
    return ", ".join(said)


def memory() -> str:
    """What each lever leaves for the KV cache of one GPU."""
    lines = []
    for target, model in measured():
        own = [one for one in load_records(target, RECORDS / target / "levers") if one.model == model]
        single = {name_of(one.serving.variant): one for one in own if one.serving.tensor_parallel_size == 1}
        for name in (one for one in levers(target, model) if one in single and not elsewhere(one)):
            told = single[name].memory
            if "kv_cache_tokens" in told:
                where = f"{model} on {load_target(target).title}"
                lines.append(row(where, name, f"{told['weights_gib']:.1f} GiB", f"{told['kv_cache_tokens']:,.0f}"))
    return table(["", "", "weights", "tokens in the KV cache"], lines)


def break_even() -> str:
    """Where a draft pays beyond the same experts without one: the tokens a step that it needs, by activations."""
    lines = []
    for target, model in measured():
        found = levers(target, model)
        for name, plain, experts in ((BOTH, "FP8", "FP8"), ("EAGLE3", BARE, "BF16")):
            for users, (drafted, alone) in pairs(found, name, plain).items():
                given, own, step = accepted(drafted), alone["tpot_ms"], step_ms(drafted)
                where = f"{model} on {load_target(target).title}", users, experts
                lines.append(
                    row(*where, f"{step:.2f} ms", f"{own:.2f} ms", f"{step / own:.2f}", f"{own * given / step:.2f}x")
                )
    columns = [
        "",
        "in flight",
        "activations",
        "step that verifies 4 tokens",
        "step without drafts",
        "breaks even at tokens a step",
        "gain at 2.72",
    ]
    return table(columns, lines)


def nano() -> str:
    """What gpt-oss-nano still knew under each experts' kernel, in a sentence; it has the model's structure, not its size."""
    said = []
    for file in sorted(RECORDS.glob("*/evidence/gpt-oss-nano-answers*.json")):
        found = json.loads(file.read_text())
        name = found["backends"]["moe"] + (" and FP8 activations" if found.get("env") else "")
        where = f"with {name} on {found['gpu']}" if found["gpu"] else "on a CPU"
        said.append(f"{min(found['rounds']):.0%} {where} (vLLM {found['vllm']})")
    return f"gpt-oss-nano, a small trained model of the same structure, gave these shares of known answers: {', '.join(said)}."


def distances() -> str:
    """How far next-token distributions lie from the reference under each kernel, on random weights."""
    lines = []
    for file in sorted(RECORDS.glob("*/evidence/*-distances.json")):
        found = json.loads(file.read_text())
        for name, one in found["distances"].items():
            where = f"{found['model']} on {found['gpu']}", SHORT.get(name, name)
            lines.append(row(*where, f"{one['top1_agreement']:.1%}", f"{one['kl_mean']:.3f}", f"{one['kl_p99']:.3f}"))
    return table(["", "against the reference", "same likeliest token", "mean KL (nats)", "99th percentile"], lines)


def routed() -> str:
    """Experts that a step hits under each lever, as a share of what uniform routing would hit."""
    lines = []
    for file in sorted(RECORDS.glob("*/evidence/*-routing-*.json")):
        found = json.loads(file.read_text())
        if "variant" in found:
            name = name_of(found["variant"]) or "the recipe as it is"
            shares = [f"{one['ratio']:.3f} of {one['tokens']}" for one in found["batches"]]
            where = f"{file.name.split('-routing')[0]} on {load_target(file.parts[-3]).title}"
            lines.append(row(where, name, *shares))
    return table(["share of uniform, of how many tokens", "", "1 in flight", "16 in flight", "64 in flight"], lines)
