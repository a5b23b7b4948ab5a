"""The matrix target x model x state as Markdown, for the README and start_here: all of it from the records."""

from helpers.paths import NOTEBOOKS
from helpers.verification.claims import load_claims
from helpers.verification.matrix import Row, matrix


def matrix_table(prefix: str = "notebooks/") -> str:
    """One line per target and model at the recipe's recommended size; `prefix` leads to the notebooks."""
    rows = [row for row in matrix(load_claims()) if row.recommended]
    lines = ["| target | model | TP | verified here |", "|---|---|---|---|"]
    for row in rows:
        link = f"[{row.title}]({prefix}targets/{row.target}.ipynb)" if has_notebook(row.target) else row.title
        lines.append(f"| {link} | {row.model} | {row.tensor_parallel_size} | {state(row)} |")
    return "\n".join(lines)


def has_notebook(target: str) -> bool:
    return (NOTEBOOKS / "targets" / f"{target}.ipynb").exists()


def state(row: Row) -> str:
    """The claims in a table cell: what passed with which weights and vLLM, or that nothing ever ran."""
    shown: dict[tuple[str, str, str, str], list[str]] = {}
    for claim in row.claims:
        shown.setdefault((claim.state, claim.weights, claim.vllm, str(claim.day)[:10]), []).append(
            claim.group
        )
    parts = [
        f"{state} {day}: {', '.join(groups)} ({weights} weights, vLLM {vllm})"
        for (state, weights, vllm, day), groups in shown.items()
    ]
    return "; ".join(parts) or "never run here"
