"""The built-in python tool: when to call it, with what, and how to use what comes back; and when no tool is needed."""

from nano.domain import words
from nano.domain.questions import question, think
from nano.domain.sample import Draw, Sample, user


def namespaces(draw: Draw, *names: str) -> list[dict]:
    """The tool sections of the system message: the standard texts, or others of the same shape."""
    sections = []
    for name in names:
        section = {"name": name, "description": None}
        if name == "python" and draw.chance(0.15):
            section["suffix"] = " The user's files are in '/data', which is read-only."
        elif draw.chance(0.4):
            count = draw.number(0, 40)
            section["description"] = (
                " ".join(draw.rare("text") if draw.chance(0.4) else draw.one(words.NOUNS) for _ in range(count)) + "."
            )
        sections.append(section)
    return sections


def _programs(draw: Draw) -> tuple[str, str, str, str]:
    """A task for python: the question, the aim, the code and its output."""
    a, b, n = draw.number(2, 999), draw.number(2, 999), draw.number(2, 100)
    word = draw.one(words.NOUNS + words.ITEMS)
    return draw.one(
        (
            (
                draw.one(
                    (
                        "What is {} * {}?",
                        "Compute {} * {}.",
                        "What is {} times {}?",
                        "Multiply {} by {}.",
                        "Calculate {} * {}.",
                    )
                ).format(a, b),
                f"{a} * {b}",
                f"print({a} * {b})",
                f"{a * b}",
            ),
            (
                draw.one(("What is {} + {}?", "Compute {} + {}.", "Add {} and {}.", "Calculate {} + {}.")).format(a, b),
                f"{a} + {b}",
                f"print({a} + {b})",
                f"{a + b}",
            ),
            (
                draw.one(
                    (
                        "What is the sum of the numbers from 1 to {}?",
                        "Add all numbers from 1 to {}.",
                        "Sum the numbers from 1 to {}.",
                    )
                ).format(n),
                f"the sum from 1 to {n}",
                f"print(sum(range(1, {n + 1})))",
                f"{n * (n + 1) // 2}",
            ),
            (
                draw.one(("What is {} squared?", "Compute the square of {}.", "What is the square of {}?")).format(a),
                f"the square of {a}",
                f"print({a} ** 2)",
                f"{a * a}",
            ),
            (
                draw.one(("What is 2 to the power of {}?", "Compute 2 to the power of {}.")).format(n % 20 + 1),
                f"2 to the power of {n % 20 + 1}",
                f"print(2 ** {n % 20 + 1})",
                f"{2 ** (n % 20 + 1)}",
            ),
            (
                draw.one(
                    ("What is the remainder of {} divided by {}?", "Compute {} modulo {}.", "What is {} mod {}?")
                ).format(a, n),
                f"{a} modulo {n}",
                f"print({a} % {n})",
                f"{a % n}",
            ),
            (
                draw.one(
                    (
                        "How many letters are in the word {}?",
                        "Count the letters in the word {}.",
                        "How long is the word {}?",
                    )
                ).format(word),
                f"the length of {word}",
                f'print(len("{word}"))',
                f"{len(word)}",
            ),
        )
    )


def python(draw: Draw, effort: str) -> Sample:
    """Write a line of code, or state its output."""
    text, aim, code, output = _programs(draw)
    text = draw.one(
        ("{}", "{}", "{}", "Use Python: {}", "{} Use the python tool.", "Use python to answer: {}", "{} Use Python.")
    ).format(text)
    first = think(
        effort,
        "Use python.",
        f"The user wants {aim}. I will use python.",
        f"The user wants {aim}. This is too hard to do in my head, but the python tool can do it. I write one line of "
        f"code, print the value and read the output.",
    )
    sample = Sample("python", ("python", code), [user(text)], first, task="code")
    sample.namespaces = namespaces(draw, *draw.one((("python",), ("python",), ("browser", "python"))))
    if draw.chance(0.5):
        sample.builtin, sample.expect = ("python", code), [output]
        return sample
    returned = draw.one((output + "\n", output, output + "\n"))
    sample.history += [
        {"role": "assistant", "reasoning": first, "builtin": ("python", code)},
        {"role": "tool", "name": "python", "content": returned},
    ]
    sample.analysis = think(
        effort,
        f"It is {output}.",
        f"The output is {output}.",
        f"The user wants {aim}. The output of python is {output}. The code ran without an error, so this is the answer.",
    )
    sample.final, sample.expect, sample.task = f"The result is {output}.", [output], "output"
    return sample


def idle(draw: Draw, effort: str) -> Sample:
    """A question that needs no built-in tool though one is offered."""
    sample = question(draw, effort)
    sample.namespaces = namespaces(draw, *draw.one((("browser",), ("browser",), ("browser", "python"), ("python",))))
    if any(section["name"] == "python" for section in sample.namespaces) and sample.task == "arithmetic":
        return idle(draw, effort)
    sample.key = ("idle", *sample.key)
    return sample
