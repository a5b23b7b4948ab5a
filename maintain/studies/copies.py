"""What copies of a server on one host cost each other, from a campaign's step about it (benchmarks/campaign/scale.py)."""

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
    title = (
        f"**Who takes what copies lose?** Two copies of {told['model']} on two {devices} and {told['cores']} CPU cores, "
        f"{first['input_tokens']:,}/{first['output_tokens']:,} tokens, vLLM {told['vllm']}, {told['day']}. "
        "Cores are those in use on average:"
    )
    return f"{title}\n\n{table(COLUMNS, rows)}"


def _row(users: int, one: dict[str, Any], alone: float) -> str:
    """One way of asking; what two clients did at different times is no measure, and says so."""
    rate, used = one["output_tok_s_per_copy"], one["cores"]
    together = one["time_in_common"]
    name = one["asked"] if together >= 0.8 else f"{one['asked']} (only {together:.0%} of the time together)"
    sums = [
        sum(share for group, share in used.items() if group.startswith(kind)) for kind in ("copy", "router", "client")
    ]
    cores = [f"{share:.1f}" for share in (*sums, used["free"])]
    return row(users, name, f"{rate:,.0f}", f"{rate / alone:.2f}x", *cores)
