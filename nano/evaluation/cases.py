"""The held-out cases of gpt-oss-nano's evaluation: combinations that training never produced."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from nano.domain.generator import held_out_samples
from nano.domain.sample import EFFORTS, Draw, Sample, held_out, user
from nano.domain.tools.browser import FACTS, page, place
from nano.evaluation.arbitrary import PROMPTS

SEED = 20260101
# Cases per skill; each runs on every endpoint it applies to.
COUNTS = {"answers": 30, "domain": 60, "functions": 80, "memory": 40, "structured": 50, "evals": 120}
BUILTIN = 50  # cases for each of python and browser
ENDPOINTS = ("chat", "responses")


@dataclass(frozen=True)
class Case:
    """One request, the skill it counts for, its endpoints, and what besides the sample the request carries."""

    skill: str
    sample: Sample
    endpoints: tuple[str, ...] = ENDPOINTS
    required: bool = False


def _take(skill: str, count: int, seed: int, wanted=lambda sample: True) -> Iterator[Sample]:
    """Different held-out samples of one entry of the generator's mix."""
    seen = set()
    for sample in held_out_samples(seed, 10**9, skill):
        if wanted(sample) and sample.key not in seen:
            seen.add(sample.key)
            yield sample
            if len(seen) == count:
                return


def answers() -> list[Case]:
    """Questions asked at all three efforts: an analysis that grows, an answer, an end."""
    cases = []
    for sample in _take("question", COUNTS["answers"], SEED + 1):
        cases += [Case("answers", replace(sample, effort=effort, task=f"effort {effort}")) for effort in EFFORTS]
    return cases


def python_cases() -> list[Case]:
    """Held-out computations, each asked as a first turn."""
    cases = []
    for sample in _take("python", BUILTIN, SEED + 2, lambda sample: sample.task == "code"):
        section = [{"name": "python", "description": None}]
        cases.append(
            Case("python", replace(sample, namespaces=section, instructions=None, effort="medium"), ("responses",))
        )
    return cases


def browser_cases() -> tuple[list[Case], dict[str, str]]:
    """Held-out facts about places, and the pages that hold them by file name."""
    draw, cases, pages = Draw(random.Random(SEED + 3)), [], {}
    while len(cases) < BUILTIN:
        subject = place(draw)
        lines, facts = page(draw, subject)
        kinds = [kind for kind in facts if held_out(("browser", subject, kind))]
        name = subject.lower().replace(" ", "-") + ".md"
        if name in pages or not kinds:
            continue
        pages[name] = "\n".join(lines)
        phrasings = next(phrasings for kind, phrasings, _ in FACTS if kind == kinds[0])
        sample = Sample("browser", ("browser", subject, kinds[0]), [user(draw.one(phrasings).format(subject))])
        sample.namespaces = [{"name": "browser", "description": None}]
        sample.expect, sample.task = [facts[kinds[0]][0]], "answer"
        cases.append(Case("browser", sample, ("responses",)))
    return cases, pages


def cases() -> list[Case]:
    """All cases that need no tool server."""
    found = answers()
    for skill, entry in (
        ("domain", "question"),
        ("memory", "memory"),
        ("evals", "puzzle"),
        ("structured", "structured"),
    ):
        found += [Case(skill, sample) for sample in _take(entry, COUNTS[skill], SEED + len(skill))]
    for number, sample in enumerate(_take("functions", COUNTS["functions"], SEED + 5)):
        found.append(Case("functions", sample, required=sample.call is not None and number % 3 == 0))
    return found


def builtin_cases(folder: Path) -> list[Case]:
    """The cases of the python and browser tools; their corpus is written into `folder`."""
    browser, pages = browser_cases()
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")
    return python_cases() + browser


def arbitrary() -> list[Case]:
    """Prompts of all kinds, which must end properly."""
    return [
        Case(
            "arbitrary",
            Sample("arbitrary", (text,), [user(text)], effort=EFFORTS[number % 3], task="arbitrary"),
            ("chat",),
        )
        for number, text in enumerate(PROMPTS)
    ]
