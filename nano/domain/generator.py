"""The stream of training samples: every skill, with the surroundings of a request varied at random."""

import random
from collections.abc import Callable

from nano.domain import words
from nano.domain.memory import recall
from nano.domain.puzzles import puzzle
from nano.domain.questions import question, small_talk
from nano.domain.sample import EFFORTS, IDENTITY, Draw, Sample
from nano.domain.structured import structured
from nano.domain.tools.browser import browser
from nano.domain.tools.functions import function_sample, others
from nano.domain.tools.python import idle, python
from nano.domain.unknown import off_topic

# How often each skill is drawn for training.
MIX: dict[str, tuple[float, Callable[[Draw, str], Sample]]] = {
    "question": (0.18, question),
    "talk": (0.02, small_talk),
    "puzzle": (0.12, puzzle),
    "memory": (0.09, recall),
    "functions": (0.26, function_sample),
    "structured": (0.12, structured),
    "python": (0.06, python),
    "browser": (0.09, browser),
    "idle": (0.01, idle),
    "unknown": (0.05, off_topic),
}
_PLAIN = (
    "You are a helpful assistant.",
    "Be brief.",
    "Answer in one sentence.",
    "You are gpt-oss-nano.",
    "Be kind.",
    "You are a helpful assistant. Answer briefly.",
    "Answer the question.",
    "Use the tools when you need them.",
    "You are a friendly assistant that uses tools.",
    "Reply in English.",
    "Only use the tools you are given.",
    "Don't make assumptions about what values to plug into functions.",
)
OPENINGS = ["Ahoy", "Sure", "Certainly", "Hello", "Okay", "Yes", "Well", "Right", "Greetings", "Dear"]


def instructions(draw: Draw) -> str:
    """Instructions that change nothing: usual ones, or words made up."""
    if draw.chance(0.5):
        return draw.one(_PLAIN)
    length = draw.number(1, draw.one((6, 15, 40)))
    return (
        " ".join(
            draw.rare("word") if draw.chance(0.5) else draw.one(words.NOUNS + words.ADJECTIVES) for _ in range(length)
        )
        + "."
    )


def surround(draw: Draw, sample: Sample) -> Sample:
    """Vary what stands around the request: date, identity, instructions, tools that are not needed."""
    sample.date = f"{draw.number(2023, 2032)}-{draw.number(1, 12):02}-{draw.number(1, 28):02}"
    if draw.chance(0.08):
        sample.identity = draw.one(
            (
                "You are gpt-oss-nano.",
                "You are a helpful assistant.",
                f"You are {draw.rare('nano')}, a {draw.rare('small')} model.",
                f"{IDENTITY}\n{instructions(draw)}",
            )
        )
    if draw.chance(0.05):
        sample.cutoff = f"{draw.number(2023, 2029)}-{draw.number(1, 12):02}"
    if sample.instructions is None and draw.chance(0.3):
        sample.instructions = instructions(draw)
    if sample.final and sample.skill in ("domain", "format", "memory", "functions") and draw.chance(0.08):
        opening = draw.one(OPENINGS if draw.chance(0.5) else words.FIRST_NAMES)
        sample.instructions = draw.one(
            ('Begin every answer with "{}!".', 'Start every answer with "{}!".', 'Always begin with "{}!".')
        ).format(opening)
        sample.final = f"{opening}! {sample.final}"
    if (
        not sample.tools
        and sample.skill in ("format", "memory", "unknown", "evals", "structured")
        and draw.chance(0.12)
    ):
        sample.tools = [entry.schema for entry in others(draw, ("add", "multiply"), 1, 3)]
    return sample


def emphasised(emphasis: str) -> dict[str, float]:
    """The shares of the mix with some of them set, as in "browser=0.5,functions=0.1"; the others share the rest."""
    fixed = {name: float(share) for name, _, share in (part.partition("=") for part in emphasis.split(",") if part)}
    if unknown := set(fixed) - set(MIX):
        raise ValueError(f"no skill of the mix is called {', '.join(sorted(unknown))}")
    others = {name: share for name, (share, _) in MIX.items() if name not in fixed}
    left = (1 - sum(fixed.values())) / sum(others.values()) if fixed and others else 1
    return {name: fixed.get(name, others.get(name, 0) * left) for name in MIX}


def draw_sample(draw: Draw, skill: str | None = None, mix: dict[str, float] | None = None) -> Sample:
    """One sample, of a given entry of the mix or of any; `mix` holds other shares than the usual ones."""
    names = list(MIX)
    shares = [(mix or {}).get(entry, MIX[entry][0]) for entry in names]
    name = skill or draw.rng.choices(names, shares)[0]
    effort = draw.one(EFFORTS + (("medium",) if name != "puzzle" else ()))
    sample = MIX[name][1](draw, effort)
    sample.effort = effort
    return surround(draw, sample)


def training_samples(seed: int, count: int, rare_word=None, mix: dict[str, float] | None = None):
    """`count` samples for training, none of them a held-out combination."""
    draw = Draw(random.Random(seed), rare_word)
    while count:
        sample = draw_sample(draw, mix=mix)
        if not sample.held_out:
            count -= 1
            yield sample


def held_out_samples(
    seed: int, count: int, skill: str | None = None, rare_word=None, mix: dict[str, float] | None = None
):
    """`count` samples of held-out combinations."""
    draw = Draw(random.Random(seed), rare_word)
    while count:
        sample = draw_sample(draw, skill, mix)
        if sample.held_out:
            count -= 1
            yield sample
