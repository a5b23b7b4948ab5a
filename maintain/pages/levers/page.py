"""`notebooks/studies/levers.ipynb`: what each lever gave beside the recipe and beside bare vLLM, all of it from records."""

import json
from math import nan
from pathlib import Path
from statistics import median
from typing import Any

import jinja2
import nbformat
from nbformat import NotebookNode

from helpers.pages.markdown import row, table
from helpers.paths import NOTEBOOKS, RECORDS
from helpers.plots.recorded import Recorded
from helpers.plots.style import figure, series
from helpers.recipes import load_target
from helpers.records.curves import evidence_file, load_records
from maintain.pages.levers.aims import aimed, apart
from maintain.pages.levers.rows import (
    BARE,
    BASE,
    BOTH,
    LENGTHS,
    SHORT,
    Lever,
    accepted,
    beside,
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
from maintain.pages.notebook import keep_outputs
from maintain.pages.pages import fill
from maintain.pages.study import from_source
from maintain.studies.recorded import ratio_bars, times

PAGE = NOTEBOOKS / "studies" / "levers.ipynb"
TEMPLATE = Path(__file__).with_name("page.py.jinja")


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
    lines = []
    for one in sorted(rows.values(), key=lambda one: (hosts.index(host_of(one)), one["name"], one["concurrency"])):
        rates = [take["output_tok_s"] for take in one["takes"]]
        spread = f", {apart(one, 'output_tok_s'):.0%} and {apart(one, 'tpot_ms'):.0%}" if len(rates) > 1 else ""
        ttft = median(take["ttft_ms"] for take in one["takes"])
        speed = f"{one['output_tok_s']:,.0f}", f"{ttft:,.0f} ms", f"{one['tpot_ms']:.2f} ms"
        base, bare = one["bases"].get(SHORT[BASE]), one["bases"].get(BARE)
        elsewhere_only = base and not same_host(one, base) and bare and same_host(one, bare)  # bare of its host says it
        ratios = against(one, None if one["name"] == BARE or elsewhere_only else base), against(one, bare)
        where = [f"{hosts.index(host_of(one)) + 1} ({one['day']})"] if len(hosts) > 1 else []
        lines.append(row(one["name"], one["concurrency"], *where, *speed, f"{len(rates)}{spread}", *ratios))
    columns = ["", "in flight", *(["host"] if len(hosts) > 1 else []), "output tok/s", "TTFT p50", "TPOT p50"]
    ratios = ["against the throughput profile", "against bare `vllm serve`"]
    numbered = "\n\nHosts are numbered from the newest." if len(hosts) > 1 else ""
    return table([*columns, "runs, spread of tok/s and TPOT", *ratios], lines) + numbered


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


def drawn(found: dict[str, Lever]) -> dict[str, str]:
    """The levers with two concurrencies or more in common with what each is held against, which is the value."""
    others = (name for name in found if name not in (BARE, SHORT[BASE]) and not elsewhere(name))
    bases = {name: beside(found, name) for name in others}
    return {name: base for name, base in bases.items() if base and len(pairs(found, name, base)) > 1}


def gains(target: str, model: str) -> Recorded:
    """The speed of one user under each lever, as a ratio to what ran on the same host."""
    found = levers(target, model)
    bases = drawn(found)
    both = {name: pairs(found, name, base) for name, base in bases.items()}
    users = sorted(set.union(*(set(points) for points in both.values())))
    several = len(set(bases.values())) > 1
    ratios = {
        f"{name} / {bases[name]}" if several else name: [
            ratio(*points[n], "tpot_ms") if n in points else nan for n in users
        ]
        for name, points in both.items()
    }
    base = "what ran on its host" if several else next(iter(bases.values()))
    title = (
        f"{model} on {load_target(target).title}, {LENGTHS[0]:,}/{LENGTHS[1]:,} tokens: one user's tok/s against {base}"
    )
    lines = [title, f"concurrency, {', '.join(ratios)}"]
    lines += [f"  {n:4} " + " ".join(times(values[at]) for values in ratios.values()) for at, n in enumerate(users)]
    return Recorded(lines, lambda: ratio_bars(users, ratios, f"tok/s of one user / {base}", title))


def steps(target: str, model: str) -> dict[int, tuple[float, float, float]]:
    """By concurrency: ms of a step that verifies, tokens that it gave, ms of a token in what it is compared with."""
    found = levers(target, model)
    both = pairs(found, BOTH, beside(found, BOTH))
    return {n: (step_ms(one), accepted(one), base["tpot_ms"]) for n, (one, base) in both.items()}


def acceptance(target: str, model: str) -> Recorded:
    """The gain against the tokens that a step gives: a step takes as long whatever is accepted, so one measurement says all."""
    found, every = steps(target, model), levers(target, model)
    base = beside(every, BOTH)
    title = f"{model} on {load_target(target).title}: {BOTH} against {base}"
    lines = [
        title,
        "concurrency, step ms, tokens a step that were measured, gain at 1, 2, 3, 4 tokens a step, breaks even at",
    ]
    for users, (step, given, plain) in found.items():
        gain = " ".join(f"{plain * tokens / step:.2f}x" for tokens in (1, 2, 3, 4))
        lines.append(f"  {users:4} {step:6.2f} {given:.2f} {gain} {max(step / plain, 1):.2f}")
    more = [
        (users, accepted(one), found[users][2] / one["tpot_ms"])
        for name in filter(elsewhere, every)
        for users, one in every[name].items()
        if users in found
    ]
    if more:
        lines.append("runs with another acceptance: concurrency, tokens a step, gain, what the line above says")
    for users, given, gained in more:
        lines.append(f"  {users:4} {given:.2f} {gained:.2f}x {found[users][2] * given / found[users][0]:.2f}x")

    def draw():
        made, (axis,) = figure(width=7.5)
        for index, (users, (step, given, plain)) in enumerate(found.items()):
            look = series(index)
            axis.plot([1, 4], [plain / step, plain * 4 / step], **{**look, "marker": ""})
            axis.plot([], [], label=f"{users} in flight", **look)
            marks = [(given, plain * given / step), *((at, gained) for n, at, gained in more if n == users)]
            axis.plot(*zip(*marks, strict=True), color=look["color"], marker=look["marker"], linestyle="")
        axis.axhline(1, color="0.2", linewidth=1)
        axis.set_xlabel("tokens a step, the model's own included (marks: measured; lines: the same step)")
        axis.set_ylabel(f"tok/s of one user / {base}")
        axis.legend(frameon=False, fontsize="small")
        axis.set_title(title, fontsize="medium")
        return made

    return Recorded(lines, draw)


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


def stepped() -> list[tuple[str, str]]:
    """(target, model) of each whose decode step was taken apart with FP8 activations and without, by one vLLM."""

    def versions(*where: str) -> list[str]:
        files = [evidence_file(*where, what) for what in ("steps-triton", "steps-fp8")]
        return [json.loads(file.read_text())["vllm"] for file in files if file.exists()]

    return [one for one in measured() if len(found := versions(*one)) == 2 and len(set(found)) == 1]


def render() -> NotebookNode:
    """The page as it should be on disk."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["comment"] = lambda text: text.replace("\n", "\n# ")
    measurements = [
        (t, m, load_target(t).title, "\n\n".join(filter(None, [rows_of(t, m), before(t, m)])), BOTH in levers(t, m))
        for t, m in measured()
    ]
    text = environment.from_string(TEMPLATE.read_text()).render(
        measurements=measurements,
        break_even=break_even(),
        distances=distances(),
        routed=routed(),
        aimed=aimed(),
        memory=memory(),
        nano=nano(),
        gave=gave,
        stepped=stepped(),
    )
    new = from_source(text)
    return fill(keep_outputs(new, nbformat.read(PAGE, as_version=4)) if PAGE.exists() else new)
