"""Questions in the formats of evaluations: integers in a box and multiple choice, harder at low effort."""

from nano.domain.questions import think
from nano.domain.sample import Draw, Sample, user
from nano.domain.words import CAPITALS, UNITS

BOXED = "{question}\nPlease reason step by step, and put your final answer within \\boxed{{}}."
CHOICE = (
    "{question}\n\n(A) {options[0]}\n(B) {options[1]}\n(C) {options[2]}\n(D) {options[3]}\n\n"
    "Express your final answer as the corresponding option 'A', 'B', 'C', or 'D'."
)
LETTERS = "ABCD"


def chain(draw: Draw) -> tuple[str, list[str], int, tuple]:
    """A sum of three to five terms: its question, its steps one addition at a time, its value and its key."""
    terms = [draw.number(2, 40) for _ in range(draw.number(3, 5))]
    signs = [1] + [draw.one((1, 1, -1)) for _ in terms[1:]]
    total, kept = terms[0], [terms[0]]
    steps = []
    for term, sign in zip(terms[1:], signs[1:], strict=True):
        if total + sign * term < 0:
            sign = 1
        steps.append(f"{total} {'+' if sign > 0 else '-'} {term} = {total + sign * term}")
        total += sign * term
        kept.append(sign * term)
    written = str(kept[0]) + "".join(f" {'+' if term > 0 else '-'} {abs(term)}" for term in kept[1:])
    if min(kept) > 0 and draw.chance(0.4):
        question = f"What is the sum of {', '.join(map(str, kept[:-1]))} and {kept[-1]}?"
    else:
        question = draw.one(("What is {}?", "Compute {}.", "Find the value of {}.", "Evaluate {}.")).format(written)
    return question, steps, total, ("chain", *kept)


def worked_chain(effort: str, steps: list[str], total: int) -> str:
    """The analysis of a chain: a guess at low effort, two additions at once at medium, each one at high."""
    if effort == "low":
        return f"I guess {total}."
    if effort == "high":
        return f"I go step by step. {'. '.join(steps)}. The last value is {total}. So the answer is {total}."
    halves = []
    for index in range(0, len(steps), 2):
        left = steps[index].split(" = ")[0]
        if index + 1 < len(steps):
            right = steps[index + 1].split(" ", 1)[1]
            halves.append(f"{left} {right}")
        else:
            halves.append(steps[index])
    return f"{'. '.join(halves)}. The answer is {total}."


def boxed(draw: Draw, effort: str) -> Sample:
    """An integer question whose answer goes into a box."""
    question, steps, total, key = chain(draw)
    text = BOXED.format(question=question)
    if draw.chance(0.2):
        text = f"{question} Put your final answer within \\boxed{{}}."
    elif total % 4:
        text = f"\n{text}\n"  # the reference library's AIME prompt begins and ends with a line break
    sample = Sample("evals", key, [user(text)], worked_chain(effort, steps, total), f"\\boxed{{{total}}}")
    sample.expect, sample.task = [f"\\boxed{{{total}}}"], f"boxed {effort}"
    return sample


def _options(draw: Draw, right, wrong: list) -> tuple[list[str], str]:
    """Four options with the right one somewhere, and its letter."""
    options = [right, *draw.rng.sample(wrong, 3)]
    draw.rng.shuffle(options)
    return [str(option) for option in options], LETTERS[options.index(right)]


def choice(draw: Draw, effort: str) -> Sample:
    """A multiple-choice question about a chain, a capital or a unit."""
    kind = draw.rng.random()
    if kind < 0.6:
        question, steps, right, key = chain(draw)
        near = [right + step for step in (-10, -4, -3, -2, -1, 1, 2, 3, 4, 5, 10, 20) if right + step >= 0]
        options, letter = _options(draw, right, near)
        worked = worked_chain(effort, steps, right)
    elif kind < 0.85:
        country = draw.one(list(CAPITALS))
        right = CAPITALS[country]
        question = draw.one(("What is the capital of {}?", "Which city is the capital of {}?")).format(country)
        options, letter = _options(draw, right, [city for city in CAPITALS.values() if city != right])
        key = ("choice", country, *sorted(options))
        fact = f"The capital of {country} is {right}."
        worked = think(effort, f"It is {right}.", fact, f"The question is about geography. {fact}")
    else:
        large, small, factor, most = draw.one(UNITS)
        n = draw.number(2, most)
        right = n * factor
        question = f"How many {small} are in {n} {large}?"
        options, letter = _options(draw, right, [(n + step) * factor for step in (-1, 1, 2, 3, 4)] + [right + 10])
        key = ("choice", large, n, *sorted(options))
        worked = think(
            effort,
            f"It is {right}.",
            f"{n} * {factor} = {right}.",
            f"1 {large} has {factor} {small}. {n} * {factor} = {right}.",
        )
    text = CHOICE.format(question=question, options=options)
    # The option before its letter: a value that comes again leads to its letter by plain repetition.
    listed = [f"{option} is {mark}" for mark, option in zip(LETTERS, options, strict=True)]
    until = ", ".join(listed[: LETTERS.index(letter) + 1])
    ending = think(
        effort,
        f" That is {letter}.",
        f" The options: {until}.",
        f" The options: {', '.join(listed)}. So {right} is {letter}.",
    )
    sample = Sample("evals", key, [user(text)], worked + ending, f"Answer: {letter}")
    sample.expect, sample.task = [f"Answer: {letter}"], f"choice {effort}"
    return sample


def puzzle(draw: Draw, effort: str) -> Sample:
    """Either format."""
    return boxed(draw, effort) if draw.chance(0.5) else choice(draw, effort)
