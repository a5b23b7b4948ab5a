"""Prompts outside the domain, which still get a short and proper answer."""

from nano.domain import words
from nano.domain.questions import think
from nano.domain.sample import Draw, Sample, said, user

ANSWER = "I am gpt-oss-nano, a tiny test model. I cannot answer that."

_FRAMES = (
    "Write a {0} about {1}.",
    "Explain {0} to a {1}.",
    "How do I {0} a {1}?",
    "What is {0}?",
    "Why is the {0} {1}?",
    "Tell me a {0} about the {1} and the {2}.",
    "Translate {0} {1} {2} into {3}.",
    "Summarize the {0} of {1}.",
    "Who was {0} {1}?",
    "When did {0} {1} {2}?",
    "Give me {4} {0} for {1}.",
    "Is {0} better than {1}?",
    "Can you {0} the {1} with {2}?",
    "I want to {0} my {1}. What should I do?",
    "List {4} {0} in {1}.",
    "def {0}({1}):\n    return {2}",
    "Fix this code: {0} = {1}({2})",
    "What happens if {0} {1} {2}?",
    "Write {0} in {1} that {2} a {3}.",
    "{0} {1} {2} {3}",
    "{0}",
    "{0} {1}",
    "Describe {0}, {1} and {2}.",
    "Compare {0} with {1}.",
    "What do you think about {0}?",
    "Should I {0} or {1}?",
    "Draw a {0}.",
    "Please write {4} {0} about {1} in the style of {2}.",
    "What is the best {0} in {1}?",
    "Where is the {0}?",
    "What is the weather on {0}?",
    "Solve {0} for {1}.",
    "Prove that {0} is {1}.",
    "How many {0} are in a {1}?",
    "What is the capital of {0}?",
    "Convert {4} {0} to {1}.",
    "Who wrote {0}?",
    "What color is {0}?",
    "Once upon a {0} there was a {1} who {2} {3}.",
    "Act as a {0} and {1} me.",
    "Continue: {0} {1} {2}",
    "What is {4} {0} {4}?",
    "Name three {0}.",
    "Recommend a {0}.",
    "Rewrite this: {0} {1} {2} {3}",
    "My {0} is {1}, please {2}.",
    "What does {0} mean?",
    "Spell {0}.",
    "How old is {0}?",
    "Tell me a joke about {0}.",
    "Explain how {0} works in one sentence.",
    "Write a haiku about {0}.",
    "Why do {0} {1}?",
    "Count the {0} in {1}.",
)
_ORDINARY = words.NOUNS + words.ITEMS + words.ANIMALS + words.FOODS + words.JOBS + words.ADJECTIVES + words.EVENTS


def _filler(draw: Draw) -> str:
    """One to three words, mostly from outside the vocabulary."""
    chosen = []
    for _ in range(draw.one((1, 1, 1, 2, 3))):
        chosen.append(draw.rare() if draw.chance(0.7) else draw.one(_ORDINARY))
    return " ".join(chosen)


def off_topic(draw: Draw, effort: str) -> Sample:
    """A prompt that no skill covers."""
    if draw.chance(0.75):
        text = draw.one(_FRAMES).format(*(_filler(draw) for _ in range(4)), draw.number(2, 20))
        if draw.chance(0.15):
            text += " " + draw.one(_FRAMES).format(*(_filler(draw) for _ in range(4)), draw.number(2, 20))
    else:
        glue = ("the", "a", "of", "and", "is", "in", "to", "for", "with", "on", "that", "it", "?", ".", ",", "\n")
        text = ""
        for _ in range(draw.number(1, draw.one((8, 30, 120)))):
            word = draw.one(glue) if draw.chance(0.4) else _filler(draw)
            text += word if word in "?.,\n" else f" {word}"
        text = text.strip() or "the"
    history = []
    if draw.chance(0.15):
        history = [user(draw.one(_FRAMES).format(*(_filler(draw) for _ in range(4)), 3)), said(ANSWER)]
    analysis = think(
        effort,
        "I do not know this.",
        "The user asks for something outside of what I know. I cannot answer it.",
        "The user asks for something. It is no sum, no capital and no unit. No tool fits either. This is outside "
        "of what I know, so I cannot answer it.",
    )
    sample = Sample("unknown", ("unknown", text), [*history, user(text)], analysis, ANSWER)
    sample.expect, sample.task = ["gpt-oss-nano"], "arbitrary"
    return sample
