"""Writes the embedded data set anew: `python -m nano.evaluation.embedded`.

The questions come from gpt-oss-nano's own generator, only from combinations that its training never saw,
in the two formats that the reference library reads.
"""

import csv
import io
import json
import random
from collections.abc import Callable

from helpers.evals.catalogue import EMBEDDED, EVALS
from nano.domain.puzzles import LETTERS, boxed, chain, choice
from nano.domain.sample import Draw, Sample

SEED = 20260101
# integer questions longer than any of its training: without them it has every one right at high effort
HARD = 4
COLUMNS = ("Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def drawn(make: Callable[[Draw, str], Sample], count: int, seed: int) -> list[Sample]:
    """Different held-out samples."""
    draw, found = Draw(random.Random(seed)), {}
    while len(found) < count:
        sample = make(draw, "high")
        if sample.held_out:
            found.setdefault(sample.history[0]["content"], sample)
    return list(found.values())


def choice_rows(count: int) -> list[dict[str, str]]:
    """Multiple choice as the library's CSV has it; the library shuffles the options itself."""
    rows = []
    for sample in drawn(choice, count, SEED):
        question, _, rest = sample.history[0]["content"].partition("\n\n(A) ")
        options = [line.split(") ", 1)[-1] for line in ("A) " + rest.partition("\n\n")[0]).splitlines()]
        right = options[LETTERS.index(sample.expect[0][-1])]
        wrong = [option for option in options if option != right]
        rows.append(dict(zip(COLUMNS, [question, right, *wrong], strict=True)))
    return rows


def hard_rows(count: int) -> list[dict[str, str]]:
    """Sums of ten terms, two chains in one."""
    draw, rows = Draw(random.Random(SEED + 2)), []
    while len(rows) < count:
        (_, _, one, first), (_, _, other, second) = chain(draw), chain(draw)
        terms = [*first[1:], *second[1:]]
        if len(terms) == 10 and min(terms) > 0:
            rows.append({"question": f"Compute {' + '.join(map(str, terms))}.", "answer": str(one + other)})
    return rows


def integer_rows(count: int) -> list[dict[str, str]]:
    """Integer questions as the library's JSON lines have them, without the words about the box, which it adds."""
    rows = hard_rows(HARD)
    for sample in drawn(boxed, count - len(rows), SEED + 1):
        text = sample.history[0]["content"]
        for ending in ("Please reason", "Put your final"):
            text = text.partition(ending)[0]
        rows.append({"question": text.strip(), "answer": sample.expect[0][len("\\boxed{") : -1]})
    return rows


def files() -> dict[str, str]:
    """Every file of the embedded set as text."""
    out = io.StringIO()
    table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(choice_rows(EVALS["nano-choice"].questions))
    rows = [json.dumps(row) + "\n" for row in integer_rows(EVALS["nano-integer"].questions)]
    half = len(rows) // 2
    return {
        "nano-choice.csv": out.getvalue(),
        "nano-integer-I.jsonl": "".join(rows[:half]),
        "nano-integer-II.jsonl": "".join(rows[half:]),
    }


if __name__ == "__main__":
    for name, text in files().items():
        (EMBEDDED / name).write_text(text)
