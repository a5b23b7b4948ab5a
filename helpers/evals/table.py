"""The results as a table, beside the seed's reference scores."""

from helpers.evals.result import Result

COLUMNS = (
    "eval",
    "effort",
    "score",
    "95 % interval",
    "std. error",
    "reference",
    "verdict",
    "samples",
    "failures",
    "tokens/sample",
    "tok/s",
    "graders' doubts",
)
DOUBTS = {
    "first_character": "the first character of an answer without a declared letter counted as its letter",
    "thousands_separator": "a boxed number with a thousands separator was read from its last group",
    "last_integer": "nothing was boxed, the last integer counted",
}


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def rows(results: list[Result]) -> list[tuple[str, ...]]:
    """One row per result; scores in percent."""
    out = []
    for r in results:
        half = f"{percent(r.interval[0])} to {percent(r.interval[1])}" if r.interval else "–"
        samples = (
            f"{r.questions}/{r.of_questions} x {r.repeats}" if r.state == "scored" else f"{r.samples} of {r.planned}"
        )
        doubts = f"{sum(r.doubts.values())} ({r.doubts_right} right)" if r.doubts else "0"
        out.append(
            (
                r.eval,
                r.effort,
                percent(r.score),
                half,
                percent(r.stderr),
                percent(r.reference),
                r.verdict,
                samples,
                str(r.failures),
                f"{r.tokens_per_sample:,.0f}",
                f"{r.output_tok_s:,.0f}",
                doubts,
            )
        )
    return out


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

    return pd.DataFrame(rows(results), columns=list(COLUMNS)).set_index(["eval", "effort"])


def text(results: list[Result]) -> str:
    """The table and its notes for a terminal."""
    return "\n".join([frame(results).reset_index().to_string(index=False), *notes(results)])
