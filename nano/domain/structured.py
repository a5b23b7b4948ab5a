"""Structured output: facts of a sentence as a JSON object, with the schema's keys in the schema's order."""

from nano.domain import words
from nano.domain.questions import capital, operation, think
from nano.domain.sample import Draw, Sample, user
from nano.domain.words import CAPITALS

_KINDS = {int: {"type": "integer"}, str: {"type": "string"}, list: {"type": "array", "items": {"type": "string"}}}


def schema_of(answer: dict, enums: dict | None = None) -> dict:
    """The JSON schema whose keys are those of `answer`, in its order."""
    properties = {key: dict(_KINDS[type(value)]) for key, value in answer.items()}
    for key, choices in (enums or {}).items():
        if key in properties:
            properties[key]["enum"] = list(choices)
    return {"type": "object", "properties": properties, "required": list(answer), "additionalProperties": False}


def _person(draw: Draw) -> tuple[str, dict, str]:
    name = draw.one(words.FIRST_NAMES) + (f" {draw.one(words.LAST_NAMES)}" if draw.chance(0.6) else "")
    facts = {"name": name, "age": draw.number(10, 99)}
    clauses = [f"is {facts['age']} years old"]
    extra = draw.some(("city", "job"), 0, 2)
    for key in extra:
        facts[key] = draw.one(words.CITIES if key == "city" else words.JOBS)
        clauses.append(
            f"lives in {facts[key]}" if key == "city" else draw.one(("works as a {}", "is a {}")).format(facts[key])
        )
    if draw.chance(0.4):
        order = list(range(len(clauses)))
        draw.rng.shuffle(order)
        clauses = [clauses[index] for index in order]
        keys = ["age", *extra]
        facts = {"name": name} | {keys[index]: facts[keys[index]] for index in order}
    joined = clauses[0] if len(clauses) == 1 else ", ".join(clauses[:-1]) + f" and {clauses[-1]}"
    return f"{name} {joined}.", facts, "person"


def _event(draw: Draw) -> tuple[str, dict, str]:
    people = draw.some(words.FIRST_NAMES, 1, 3)
    title, day = f"{draw.one(words.NOUNS)} {draw.one(words.EVENTS)}", draw.one(words.DAYS)
    listed = people[0] if len(people) == 1 else ", ".join(people[:-1]) + f" and {people[-1]}"
    verb = "is" if len(people) == 1 else "are"
    text = draw.one(
        (f"{listed} {verb} going to a {title} on {day}.", f"{listed} {verb} going to the {title} on {day}.")
    )
    return text, {"name": title, "day": day, "participants": people}, "event"


def _order(draw: Draw) -> tuple[str, dict, str]:
    facts = {"quantity": draw.number(2, 99), "color": draw.one(words.COLORS), "item": draw.one(words.ITEMS)}
    who = draw.one(("I want to order", "Please send me", "We need"))
    return f"{who} {facts['quantity']} of the {facts['color']} {facts['item']}.", facts, "order"


def _mood(draw: Draw) -> tuple[str, dict, str]:
    good, bad = (("great", "wonderful", "good", "nice", "excellent"), ("terrible", "bad", "awful", "poor", "horrible"))
    positive = draw.chance(0.5)
    thing = draw.one(words.ITEMS + words.NOUNS)
    text = draw.one(("The {} was {}.", "The {} is {}.", "This {} is really {}.")).format(
        thing, draw.one(good if positive else bad)
    )
    return text, {"sentiment": "positive" if positive else "negative"}, "sentiment"


_ENUMS = {"sentiment": ("positive", "negative")}


def _ask(draw: Draw, sentence: str, about: str, keys: list[str]) -> tuple[str, str | None]:
    """The user's text, which names the keys, and perhaps instructions."""
    named = keys[0] if len(keys) == 1 else ", ".join(keys[:-1]) + f" and {keys[-1]}"
    kind = draw.number(0, 6)
    if kind == 0:
        return sentence, f"Extract {named} as JSON."
    return (
        f"Extract {named} as JSON: {sentence}",
        f"{sentence} Extract {named} as JSON.",
        f"{sentence} Give me {named} as JSON.",
        f"Extract the {about} as JSON with the keys {named}. {sentence}",
        f"{sentence} Return a JSON object with {named}.",
        f"{sentence}\nAnswer as JSON with the keys {named}.",
    )[kind - 1], None


def _open_ask(draw: Draw, sentence: str, about: str) -> tuple[str, str | None]:
    """The user's text without the keys: the schema alone decides them."""
    return draw.one(
        (
            (f"Extract the {about}: {sentence}", None),
            (f"{sentence} Extract the {about}.", None),
            (sentence, f"Extract the {about} information."),
            (sentence, f"Extract the {about}."),
            (f"{sentence} Answer as JSON.", None),
            (f"Extract the {about} as JSON: {sentence}", None),
            (f"Extract the {about} information. {sentence}", None),
            (f"{sentence}", None),
        )
    )


def extraction(draw: Draw, effort: str) -> Sample:
    """The facts of a sentence as JSON."""
    sentence, facts, about = draw.one((_person, _person, _person, _event, _event, _order, _mood))(draw)
    answer, forced = dict(facts), False
    if draw.chance(0.55):
        keys = draw.some(list(facts), 1 if len(facts) < 3 else 2, len(facts))
        answer = {key: facts[key] for key in keys}
        text, instructions = _ask(draw, sentence, about, keys)
    else:
        text, instructions = _open_ask(draw, sentence, about)
        if draw.chance(0.5):
            answer, forced = (
                {key: facts[key] for key in draw.some(list(facts), 1 if len(facts) < 3 else 2, len(facts))},
                True,
            )
    if about == "event" and "day" in answer and (forced or instructions or "day" in text) and draw.chance(0.5):
        # The schema may call the day a date; so does the request where it names the keys.
        answer = {("date" if key == "day" else key): value for key, value in answer.items()}
        text, instructions = (text.replace(" day", " date"), instructions and instructions.replace(" day", " date"))
    listed = ", ".join(
        f"{key} is {' and '.join(value) if isinstance(value, list) else value}" for key, value in facts.items()
    )
    analysis = think(
        effort,
        "Answer with JSON.",
        f"The user wants JSON about {'an' if about in ('event', 'order') else 'a'} {about}. {listed}.",
        f"The user wants JSON about {'an' if about in ('event', 'order') else 'a'} {about}. The text says: {listed}. There is nothing "
        f"to compute and no tool to call. I take the values from the text and write them as JSON.",
    )
    sample = Sample("structured", (about, *map(str, facts.values())), [user(text)], analysis, answer=answer)
    sample.instructions, sample.forced, sample.task = instructions, forced, about
    sample.schema = schema_of(answer, _ENUMS)
    return sample


def known(draw: Draw, effort: str) -> Sample:
    """A question of the domain whose answer a schema wants as JSON, without a word about it in the prompt."""
    if draw.chance(0.5):
        sample = capital(draw, effort)
        country = next(entry for entry in CAPITALS if entry == sample.key[1])
        city, country = CAPITALS[country], country.removeprefix("the ")
        sample.answer = draw.one(
            ({"country": country, "capital": city}, {"capital": city, "country": country}, {"capital": city})
        )
        if sample.key[2]:
            sample.answer = draw.one(({"country": country, "capital": city}, {"country": country}))
        elif draw.chance(0.3):
            sample.answer = {draw.one(("answer", "city")): city}
    else:
        sample, equation = operation(draw, effort)
        value = int(equation.split(" = ")[1])
        a, _, b = equation.split(" = ")[0].split()
        sample.answer = draw.one(
            (
                {draw.one(("answer", "result", "sum", "value")): value},
                {"a": int(a), "b": int(b), "result": value},
                {"expression": equation.split(" = ")[0], "result": value},
            )
        )
    if draw.chance(0.3):
        sample.history[0]["content"] += draw.one((" Answer as JSON.", " Reply with JSON.", " Give the answer as JSON."))
    sample.skill, sample.task, sample.forced, sample.final = "structured", "known", True, None
    sample.schema, sample.expect = schema_of(sample.answer), []
    sample.key = ("known", *sample.key)
    return sample


def structured(draw: Draw, effort: str) -> Sample:
    """Either."""
    return extraction(draw, effort) if draw.chance(0.6) else known(draw, effort)
