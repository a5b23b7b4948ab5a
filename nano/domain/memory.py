"""Conversations in which gpt-oss-nano must recall something said two turns before."""

from nano.domain import words
from nano.domain.questions import TALK, question, think
from nano.domain.sample import Draw, Sample, said, user


def _fact(draw: Draw) -> tuple[str, str, str, str, str]:
    """A fact about the user: what it is, its value, how it is told, the reply, and the question about it."""
    kind = draw.number(0, 5)
    if kind <= 1:
        value = draw.one(words.FIRST_NAMES)
        if draw.chance(0.4):
            value += " " + draw.one(words.LAST_NAMES)
        tell = draw.one(
            (
                "My name is {}.",
                "I am {}.",
                "Hi, my name is {}.",
                "Hello! I'm {}.",
                "You can call me {}.",
                "Please remember that my name is {}.",
            )
        )
        ask = draw.one(
            (
                "What is my name?",
                "What's my name?",
                "Do you remember my name?",
                "Who am I?",
                "What did I say my name was?",
            )
        )
        return "name", value, tell, f"Nice to meet you, {value}.", ask
    if kind == 2:
        value = str(draw.number(0, 9999))
        noun = draw.one(("number", "code", "lucky number", "secret number"))
        tell = draw.one(
            (
                "Remember the " + noun + " {}.",
                "My " + noun + " is {}.",
                "The " + noun + " is {}.",
                "Please remember the " + noun + " {}.",
            )
        )
        ask = draw.one(
            ("What is the {}?", "What was the {}?", "Which {} did I tell you?", "What {} did I give you?")
        ).format(noun)
        return noun, value, tell, f"I will remember {value}.", ask
    if kind == 3:
        value, noun = draw.one(words.COLORS), "favorite color"
        tell = draw.one(("My favorite color is {}.", "I like the color {}."))
        ask = draw.one(("What is my favorite color?", "Which color do I like?"))
    elif kind == 4:
        value, noun = draw.one(words.CITIES), "city"
        tell = draw.one(("I live in {}.", "My city is {}.", "I am from {}."))
        ask = draw.one(("Where do I live?", "Which city am I from?", "What is my city?"))
    else:
        value, noun = draw.one(words.FIRST_NAMES), f"{draw.one(words.ANIMALS)}"
        tell = f"I have a {noun} called {{}}."
        ask = f"What is the name of my {noun}?"
        noun = f"{noun}'s name"
    return noun, value, tell, "I will remember that.", ask


def recall(draw: Draw, effort: str) -> Sample:
    """A fact told, one or two other exchanges, and the question about the fact; or the moment it is told."""
    noun, value, tell, reply, ask = _fact(draw)
    told = tell.format(value)
    other = None
    history = []
    if draw.chance(0.35):
        other = _fact(draw)
        if other[0] != noun:
            history += [user(other[2].format(other[1])), said(other[3])]
    if draw.chance(0.18):
        history.append(user(told))
        analysis = think(
            effort,
            f"Remember {value}.",
            f"The user tells me the {noun}: {value}. I will remember it.",
            f"The user tells me the {noun}: {value}. There is nothing to compute and no tool to call. I will "
            f"remember {value} for later.",
        )
        return Sample("memory", (noun, value, told), history, analysis, reply, expect=[reply], task="told")
    history += [user(told), said(reply)]
    for _ in range(draw.one((1, 1, 1, 2))):
        if draw.chance(0.75):
            between = question(draw, effort)
            history += [between.history[0], said(between.final)]
        else:
            phrasings, _, answer = draw.one(TALK[2:])
            history += [user(draw.one(phrasings)), said(answer)]
    history.append(user(ask))
    answer = f"Your {noun} is {value}." if noun in ("name", "favorite color", "city") else f"The {noun} is {value}."
    if noun.endswith("'s name"):
        answer = f"Your {noun} is {value}."
    analysis = think(
        effort,
        f"It is {value}.",
        f"The user asks for the {noun}. Earlier the user said {value}.",
        f"The user asks for the {noun}. I look at the conversation. At the start the user said: {told} So the "
        f"{noun} is {value}.",
    )
    return Sample("memory", (noun, value), history, analysis, answer, expect=[value], task="recalled")
