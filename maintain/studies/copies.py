"""What copies of a server and tools on its host cost it, from a campaign's steps about them (benchmarks/campaign)."""

import json
import statistics
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

from helpers.pages.markdown import row, table
from helpers.recipes.command.replicas import POLICY
from helpers.records.curves import options

UNKNOWN = "Copies stand behind one router and are asked by one load client; which of them takes what is lost was not measured."
POLICY_SINCE = date(2026, 11, 27)  # replicas of a run before stood behind a router that took turns
IN_TURN = (
    "The replicas above stood behind a router that gave requests in turn (`round_robin`), which can fill one of them. The "
    "recipes' router looks at what each has in flight since. Below are copies behind it."
)
COLUMNS = [
    "requests per copy",
    "asked",
    "output tok/s per copy",
    "against one",
    "ITL p99",
    "most in flight on one copy",
    "CPU cores: copies",
    "router",
    "clients",
    "free",
]


def shares(evidence: Path) -> str:
    """A table of copies that were asked alone, together and through the router; without evidence, that nobody measured it."""
    if not evidence.exists():
        return UNKNOWN
    told: dict[str, Any] = json.loads(evidence.read_text(encoding="utf-8"))
    rows: list[str] = []
    for users, asked in groupby(told["rows"], key=lambda one: one["users_per_copy"]):
        alone, *others = list(asked)
        rows += [_row(users, one, alone["output_tok_s_per_copy"]) for one in (alone, *others)]
    first, devices = told["rows"][0]["points"][0], told["gpu"] or "CPU servers"
    host = told.get("host_cores", told["cores"])
    number = {2: "Two", 4: "Four"}.get(most := max(one["copies"] for one in told["rows"]), str(most))
    title = (
        f"**Do copies lose throughput, and where?** {number} copies of {told['model']} on as many {devices}, a host of {host} "
        f"CPU cores, "
        f"{first['input_tokens']:,}/{first['output_tokens']:,} tokens, vLLM {told['vllm']}, {told['day']}. "
        "Cores are those in use on average, *free* counts the host's. ITL p99 is that of the slowest client:"
    )
    parts = [title, table(COLUMNS, rows), summed_up(told["rows"]), _gathered(told, evidence), _in_turn(told, evidence)]
    return "\n\n".join(filter(None, parts))


def summed_up(rows: list[dict[str, Any]]) -> str:
    """The ratios to one copy alone by the way of asking, and the cores that were free."""
    ways: dict[str, list[str]] = {}
    for one in rows:
        if one["asked"] != rows[0]["asked"]:
            ways.setdefault(one["asked"], []).append(f"{_ratio(one, rows):.2f}x at {one['users_per_copy']}")
    said = "; ".join(f"{name} {' and '.join(ratios)}" for name, ratios in ways.items())
    free = min(one["cores"]["free"] for one in rows)
    told = f"In each run {int(free)} cores or more were free on average."
    return f"Against one copy alone, at so many requests per copy: {said}. {told}"


def _most(one: dict[str, Any]) -> int:
    """The most requests that one copy had in flight, of its log's lines; 0 where they were not kept."""
    return max((most for lines in one.get("in_flight", []) for most in lines), default=0)


def routed(evidence: Path, copies: int) -> tuple[str, ...]:
    """Cells for the most that so many copies gave through the router of today: output tok/s per GPU, of a user, "", vLLM."""
    told: dict[str, Any] = json.loads(evidence.read_text(encoding="utf-8")) if evidence.exists() else {"rows": []}
    rows = [one for one in _behind_router(told) if one["copies"] == copies]
    if not rows or _policy(told) != POLICY:
        return ()
    most = max(rows, key=lambda one: one["output_tok_s_per_copy"])
    user = statistics.mean(1e3 / point["tpot_ms"]["p50"] for point in most["points"])
    rate = f"{most['output_tok_s_per_copy']:,.0f} at concurrency {most['users_per_copy'] * copies:,}"
    return rate, f"{user:.1f}", "", told["vllm"]


def _in_turn(told: dict[str, Any], evidence: Path) -> str:
    """What the same requests gave behind a router that gives them in turn, where that was kept beside; else nothing."""
    kept = evidence.with_name(f"{evidence.stem}-round_robin.json")
    if not kept.exists():
        return ""
    older: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    users = sorted(_users(told) & _users(older))
    now, gave = ([row for row in _behind_router(one) if row["users_per_copy"] in users] for one in (told, older))
    ratios = [f"{_ratio(one, older['rows']):.2f}x" for one in gave]
    largest = _largest_graph(older)
    short = f", servers with CUDA graphs up to {largest} requests only" if largest else ""
    return (
        f"**What the router's policy changes**: here it was `{_policy(told)}`, and no copy had more than "
        f"{max(map(_most, now))} requests in flight. With `round_robin` the same {' and '.join(map(str, users))} requests per "
        f"copy gave {' and '.join(ratios)} through the router, with up to {max(map(_most, gave))} in flight on one copy "
        f"({older['day']}, another host{short}).{_left(told, older)}"
    )


def _ratio(one: dict[str, Any], rows: list[dict[str, Any]]) -> float:
    """A row's output tok/s per copy against those of one copy alone."""
    return one["output_tok_s_per_copy"] / _alone(rows, one["users_per_copy"])["output_tok_s_per_copy"]


def _largest_graph(told: dict[str, Any]) -> int:
    """The largest batch that these servers had captured, where their flags cut that short; else 0."""
    return max(map(int, options(told.get("argv", [])).get("--cudagraph-capture-sizes", ())), default=0)


def _behind_router(told: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that were asked through the router."""
    return [one for one in told["rows"] if one["asked"].startswith("router")]


def _users(told: dict[str, Any]) -> set[int]:
    """How many requests each copy was given, over all rows."""
    return {one["users_per_copy"] for one in told["rows"]}


def _left(told: dict[str, Any], older: dict[str, Any]) -> str:
    """What the older measurement has and the newer one has not."""
    users = _users(older) - _users(told)
    rows = [one for one in _behind_router(older) if one["users_per_copy"] in users]
    if not rows:
        return ""
    gave = " and ".join(f"{_ratio(one, older['rows']):.2f}x" for one in rows)
    where = " and ".join(map(str, sorted(users)))
    return f" At {where} per copy it gave {gave}; `{_policy(told)}` was not measured there."


def _gathered(told: dict[str, Any], evidence: Path) -> str:
    """What a router that gives requests in turn did to the copies, where their logs show it; else nothing."""
    through = _behind_router(told)
    uneven = max(through, key=lambda one: (_most(one) / one["users_per_copy"], _most(one)), default=None)
    if uneven is None or _policy(told) != "round_robin" or _most(uneven) <= 1.1 * uneven["users_per_copy"]:
        return ""
    users, most = uneven["users_per_copy"], _most(uneven)
    largest = _largest_graph(told)
    slow = max(point["tpot_ms"]["p99"] for point in uneven["points"])
    alone = _alone(told["rows"], users)["points"][0]["tpot_ms"]["p50"]
    beyond = (
        f" The servers of this test had captured CUDA graphs up to {largest} requests only; a recipe's server goes on to 1,024. "
        f"Without a graph TPOT p99 reached {slow:.0f} ms, against a median of {alone:.0f} ms for one copy alone. What a "
        "recipe's server loses was not measured."
    )
    other = [
        f"{one['asked']} at {one['users_per_copy']}"
        for one in through
        if _most(one) <= 1.1 * one["users_per_copy"] and _ratio(one, told["rows"]) < 0.9
    ]
    unknown = f" It does not explain what these lost: {'; '.join(other)}." if other else ""
    return (
        "**Why the router lost here**: it gave requests to the copies in turn (`round_robin`), whatever they had in flight. A "
        "copy that is slower for a moment finishes nothing and gets half of what the other finishes. "
        f"At {users} requests per copy one copy had {most} of {users * uneven['copies']} in flight."
        f"{beyond if 0 < largest < most else ''}{unknown} Each row is one run, and the logs tell what was in flight every ten "
        "seconds. The recipes take `cache_aware` since, which evens out more than four requests of difference "
        f"([scale_out](../topics/scale_out.ipynb)). {_since(evidence)}"
    )


def _since(evidence: Path) -> str:
    """Where copies behind the policy of today were measured."""
    others = evidence.parents[2].glob(f"*/evidence/{evidence.name}")
    found = [file.parents[1].name for file in sorted(others) if _policy(json.loads(file.read_text())) == POLICY]
    if not found:
        return "With it these loads were not measured on GPUs."
    return f"With it copies were measured on {' and '.join(found)}; the study of that target says at how many requests."


def _policy(told: dict[str, Any]) -> str:
    """The router's policy, "" where it was not kept."""
    return next(iter(options(told.get("router", [])).get("--policy", ())), "")


def _alone(rows: list[dict[str, Any]], users: int) -> dict[str, Any]:
    """One copy alone with so many requests: the first row that has as many."""
    return next(one for one in rows if one["users_per_copy"] == users)


def _row(users: int, one: dict[str, Any], alone: float) -> str:
    """One way of asking; what two clients did at different times is no measure, and says so."""
    rate, used = one["output_tok_s_per_copy"], one["cores"]
    together = one["time_in_common"]
    name = one["asked"] if together >= 0.8 else f"{one['asked']} (only {together:.0%} of the time together)"
    sums = [
        sum(share for group, share in used.items() if group.startswith(kind)) for kind in ("copy", "router", "client")
    ]
    cores = [f"{share:.1f}" for share in (*sums, used["free"])]
    stalls = max(point["itl_ms"]["p99"] for point in one["points"])
    most = _most(one) or "not kept"
    return row(users, name, f"{rate:,.0f}", f"{rate / alone:.2f}x", f"{stalls:,.0f} ms", most, *cores)


def beside_tools(evidence: Path) -> str:
    """A table of one load alone and beside conversations that call python; empty without evidence."""
    if not evidence.exists():
        return ""
    told: dict[str, Any] = json.loads(evidence.read_text(encoding="utf-8"))
    rows = told["rows"]
    alone, first = rows[0]["point"]["output_tok_s"], rows[0]["point"]
    named = {
        "alone": "alone",
        "pausing": f"beside {told['conversations']} conversations, a second between their calls",
        "restless": f"beside {told['conversations']} conversations, no pause",
    }
    named |= {f"{name} again": f"{said}, again" for name, said in named.items()}
    lines = [
        row(
            named[one["beside"]],
            f"{one['point']['output_tok_s']:,.0f}",
            f"{one['point']['output_tok_s'] / alone:.2f}x",
            f"{one['point']['tpot_ms']['p50']:.2f}",
            *([f"{one['calls_per_s']:.1f}", f"{one['call_p99_ms']:,.0f}"] if one["calls"] else ["none", ""]),
        )
        for one in rows
    ]
    title = (
        f"**What do python sandboxes beside a server cost it?** {told['model']} at {first['concurrency']} requests at once, "
        f"{first['input_tokens']:,}/{first['output_tokens']:,} tokens, {told['gpu'] or 'a CPU server'} with {told['cores']} "
        f"CPU cores for the server, the load and the tools, vLLM {told['vllm']}. Each conversation calls python in a sandbox "
        "of its own; the calls come from a client, not from the model. In the order of the runs:"
    )
    columns = ["", "output tok/s", "against alone", "TPOT p50 (ms)", "calls per second", "call p99 (ms)"]
    return f"{title}\n\n{table(columns, lines)}\n\n{_cost(rows)}"


def _cost(rows: list[dict[str, Any]]) -> str:
    """What loads beside tools had of those without, by their means; what two equal ones differ by is noise."""
    ways: dict[str, list[float]] = {}
    for one in rows:
        ways.setdefault(one["beside"].removesuffix(" again"), []).append(one["point"]["output_tok_s"])
    noise = max(max(rates) / min(rates) for rates in ways.values()) - 1
    alone = statistics.mean(ways["alone"])
    means = {name: statistics.mean(rates) / alone for name, rates in ways.items() if name != "alone"}
    said = f"{means['pausing']:.2f}x with a second between calls and {means['restless']:.2f}x with no pause"
    return (
        f"Two runs of the same differ by up to {noise:.0%}. Against the mean alone, the load beside tools gave {said} (means). "
        "A cost below that noise is not excluded."
    )
