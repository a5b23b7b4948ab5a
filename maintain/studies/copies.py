"""What copies of a server and tools on its host cost it, from a campaign's steps about them (benchmarks/campaign)."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from helpers.pages.markdown import row, table

UNKNOWN = "Copies stand behind one router and are asked by one load client; which of them takes what is lost was not measured."
COLUMNS = [
    "requests per copy",
    "asked",
    "output tok/s per copy",
    "against one",
    "ITL p99",
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
        f"**Who takes what copies lose?** {number} copies of {told['model']} on as many {devices}, a host of {host} CPU cores, "
        f"{first['input_tokens']:,}/{first['output_tokens']:,} tokens, vLLM {told['vllm']}, {told['day']}. "
        "Cores are those in use on average, *free* counts the host's. ITL p99 is that of the slowest client:"
    )
    return f"{title}\n\n{table(COLUMNS, rows)}\n\n{summed_up(told['rows'])}"


def summed_up(rows: list[dict[str, Any]]) -> str:
    """The ratios to one copy alone by the way of asking, and the cores that were free."""
    alone: dict[int, float] = {}
    ways: dict[str, list[str]] = {}
    for one in rows:
        users, rate = one["users_per_copy"], one["output_tok_s_per_copy"]
        base = alone.setdefault(users, rate)
        if one["asked"] != rows[0]["asked"]:
            ways.setdefault(one["asked"], []).append(f"{rate / base:.2f}x at {users}")
    said = "; ".join(f"{name} {' and '.join(ratios)}" for name, ratios in ways.items())
    free = min(one["cores"]["free"] for one in rows)
    return f"Against one copy alone, at so many requests per copy: {said}. At least {free:.0f} cores were free."


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
    return row(users, name, f"{rate:,.0f}", f"{rate / alone:.2f}x", f"{stalls:,.0f} ms", *cores)


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
        "alone again": "alone again",
    }
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
        f"**What do tools cost the throughput?** {told['model']} at {first['concurrency']} requests at once, "
        f"{first['input_tokens']:,}/{first['output_tokens']:,} tokens, {told['gpu'] or 'a CPU server'} with {told['cores']} "
        f"CPU cores for the server, the load and the tools, vLLM {told['vllm']}. Each conversation calls python in a sandbox "
        "of its own:"
    )
    columns = ["", "output tok/s", "against alone", "TPOT p50 (ms)", "calls per second", "call p99 (ms)"]
    return f"{title}\n\n{table(columns, lines)}"
