"""The measured table of gpt-oss-nano's card, from the documents that `cookbook nano eval --json` wrote."""

import json
from pathlib import Path

from helpers.paths import MODELS

GREEDY, SAMPLED = MODELS / "gpt-oss-nano.eval.json", MODELS / "gpt-oss-nano.eval-sampled.json"
# python and browser, each case through vLLM and the tool server
TOOLS = MODELS / "gpt-oss-nano.eval-tools.json"
HOW = {"python": "end to end", "browser": "end to end, one result a search"}


def _share(row: dict[str, int] | None) -> str:
    return f"{row['passed']} of {row['total']} ({100 * row['passed'] / row['total']:.1f} %)" if row else "not run"


def table(greedy: Path = GREEDY, sampled: Path = SAMPLED) -> str:
    """The Markdown table: success per skill greedy and at temperature 1.0, then `evals` by format and effort."""
    one, two = (json.loads(path.read_text(encoding="utf-8")) for path in (greedy, sampled))
    lines = ["| skill | greedy | temperature 1.0 |", "|---|---|---|"]
    lines += [
        f"| {skill} | {_share(row)} | {_share(two['skills'].get(skill))} |" for skill, row in one["skills"].items()
    ]
    tools = json.loads(TOOLS.read_text(encoding="utf-8"))["skills"]
    lines += [f"| {skill} ({HOW[skill]}) | {_share(row)} | not run |" for skill, row in tools.items()]
    for kind in ("boxed", "choice"):
        for effort in ("low", "medium", "high"):
            task = f"evals/{kind} {effort}"
            lines.append(
                f"| evals: {kind}, {effort} | {_share(one['tasks'][task])} | {_share(two['tasks'].get(task))} |"
            )
    rate = one["sampled"]
    lines += [
        "",
        f"Malformed Harmony, judged by the library's strict parser: {rate['malformed']} of {rate['samples']} answers sampled at temperature 1.0.",
    ]
    return "\n".join(lines)
