"""The results as a table, beside the seed's reference scores."""

from helpers.evals.result import Result

DOUBTS = {
    "first_character": "the first character of an answer without a declared letter counted as its letter",
    "thousands_separator": "a boxed number with a thousands separator was read from its last group",
    "last_integer": "nothing was boxed, the last integer counted",
}


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def row(r: Result) -> dict[str, str]:
    """A result by the names of the table's columns; scores in percent."""
    scored = r.state == "scored"
    return {
        "eval": r.eval,
        "effort": r.effort,
        "score": percent(r.score),
        "95 % interval": f"{percent(r.interval[0])} to {percent(r.interval[1])}" if r.interval else "–",
        "std. error": percent(r.stderr),
        "reference": percent(r.reference),
        "verdict": r.verdict,
        "samples": f"{r.questions}/{r.of_questions} x {r.repeats}" if scored else f"{r.samples} of {r.planned}",
        "failures": str(r.failures),
        "tokens/sample": f"{r.tokens_per_sample:,.0f}",
        "tok/s": f"{r.output_tok_s:,.0f}",
        "graders' doubts": f"{sum(r.doubts.values())} ({r.doubts_right} right)" if r.doubts else "0",
    }


def notes(results: list[Result]) -> list[str]:
    """What a reader must know beside the numbers: why a score is withheld, what the graders' faults may have done."""
    lines = []
    for r in results:
        name = f"{r.eval} {r.effort}"
        if r.state != "scored":
            lines.append(f"{name}: no score, {r.why}")
        lines += [f"{name}: {kind}, first: {cause}" for kind, cause in r.first_causes.items()]
        lines += [f"{name}: {count} x {DOUBTS[kind]}" for kind, count in r.doubts.items()]
        if r.verdict == "undecided":
            points = f"±{100 * r.tolerance:.0f} points"
            lines.append(f"{name}: the interval is too wide for a verdict within {points}; ask more questions")
    return lines


def frame(results: list[Result]):
    """The table as a data frame, for notebooks."""
    import pandas as pd

    return pd.DataFrame(map(row, results)).set_index(["eval", "effort"])


def text(results: list[Result]) -> str:
    """The table and its notes for a terminal."""
    return "\n".join([frame(results).reset_index().to_string(index=False), *notes(results)])
