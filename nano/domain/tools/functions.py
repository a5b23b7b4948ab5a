"""Function calling: pick the tool, fill its arguments, use its result, or see that none fits."""

from nano.domain import words
from nano.domain.questions import question, think
from nano.domain.sample import Draw, Sample, user
from nano.domain.tools.requests import Request
from nano.domain.tools.toolbox import FIND_CUSTOMER, GET_ORDER, TOOLS, WEATHER, Offer, dumps, offer, stranger

NO_TOOL = "I have no tool for that."


def others(draw: Draw, without: tuple[str, ...], low: int = 0, high: int = 4) -> list[Offer]:
    """Offers beside the right one: known tools other than those named, and strangers."""
    known = [tool for tool in TOOLS if tool.names[0] not in without]
    offers = []
    for tool in draw.rng.sample(known, draw.one([*range(low, high + 1)])):
        offers.append(stranger(draw) if draw.chance(0.25) else offer(draw, tool))
    return offers


def _mixed(draw: Draw, offers: list[Offer]) -> list[Offer]:
    draw.rng.shuffle(offers)
    return offers


def _call_analysis(effort: str, aim: str, offers: list[Offer], right: Offer, arguments: dict) -> str:
    """Why this tool with these arguments."""
    values = ", ".join(f"{key} is {value}" for key, value in arguments.items())
    listed = ", ".join(entry.name for entry in offers)
    return think(
        effort,
        f"Use {right.name}.",
        f"The user wants {aim}. The tool {right.name} fits. {values}.",
        f"The user wants {aim}. The tools are: {listed}. The tool {right.name} fits. I take the arguments from the "
        f"request: {values}. Now I call {right.name}.",
    )


def _result_analysis(effort: str, aim: str, right: Offer, result: str) -> str:
    """How the result leads to the answer."""
    return think(
        effort,
        "The tool answered.",
        f"The tool {right.name} answered: {result}.",
        f"The user wants {aim}. The tool {right.name} answered: {result}. No other call is needed. I can answer now.",
    )


def _called(reasoning: str, right: Offer, arguments: dict, keep: bool) -> dict:
    return {"role": "assistant", "call": (right.name, arguments)} | ({"reasoning": reasoning} if keep else {})


def _returned(right: Offer, content: str) -> dict:
    return {"role": "tool", "name": right.name, "content": content}


def _content(draw: Draw, result: dict) -> str:
    """A tool's result as text: JSON, sometimes without spaces."""
    return dumps(result) if draw.chance(0.85) else dumps(result).replace(": ", ":").replace(", ", ",")


def single_call(draw: Draw, effort: str) -> Sample:
    """One request that one of the offered tools serves: the call, or the answer after its result."""
    tool = draw.one(TOOLS)
    request, right = tool.request(draw), offer(draw, tool)
    offers = _mixed(draw, [right, *others(draw, (tool.names[0],))])
    arguments = right.arguments(request.values)
    reasoning = _call_analysis(effort, request.aim, offers, right, arguments)
    sample = Sample("functions", ("call", tool.names[0], *request.values), [user(request.text)], reasoning)
    sample.tools = [entry.schema for entry in offers]
    if draw.chance(0.6):
        sample.call, sample.task = (right.name, arguments), "call"
        return sample
    return _after(draw, sample, request, right, arguments, effort)


def _after(draw: Draw, sample: Sample, request: Request, right: Offer, arguments: dict, effort: str) -> Sample:
    """The same conversation with the tool's result in it."""
    kind = draw.rng.random()
    content, answer = _content(draw, request.result), request.answer
    if kind < 0.1:
        words_of_error = " ".join(draw.some(words.NOUNS + words.ADJECTIVES, 2, 4))
        content = dumps({"error": words_of_error})
        answer = f"The tool failed: {words_of_error}."
    elif kind < 0.25:
        plain = [
            draw.one(words.NOUNS + words.ADJECTIVES + words.WEATHER + [str(draw.number(0, 999))])
            for _ in range(draw.number(1, 6))
        ]
        content = " ".join(plain)
        answer = f"The result is: {content}."
    keep = draw.chance(0.5)
    sample.history += [_called(sample.analysis, right, arguments, keep), _returned(right, content)]
    sample.analysis = _result_analysis(effort, request.aim, right, content)
    sample.final, sample.expect, sample.task = answer, [answer], "result"
    return sample


def no_call(draw: Draw, effort: str) -> Sample:
    """A question that needs no tool though some are offered, or a request that none of them serves."""
    if draw.chance(0.5):
        sample = question(draw, effort)
        sample.tools = [entry.schema for entry in others(draw, ("add", "multiply"), 1, 4)]
        sample.skill, sample.task, sample.key = "functions", "no call", ("plain", *sample.key)
        return sample
    tool = draw.one(TOOLS[:-3] + TOOLS[-1:])
    request = tool.request(draw)
    offers = others(draw, (tool.names[0],), 0, 4)
    listed = ", ".join(entry.name for entry in offers)
    have = f"The tools are: {listed}. None of them fits." if offers else "There is no tool at all."
    analysis = think(
        effort,
        "No tool fits.",
        f"The user wants {request.aim}. No tool fits.",
        f"The user wants {request.aim}. {have} I cannot know this without a tool, so I say that I have no tool for that.",
    )
    sample = Sample("functions", ("none", tool.names[0], *request.values), [user(request.text)], analysis, NO_TOOL)
    sample.tools, sample.expect, sample.task = [entry.schema for entry in offers], [NO_TOOL], "no tool"
    return sample


def order_lookup(draw: Draw, effort: str) -> Sample:
    """Two calls in sequence: find the customer, get the order by the id found, then answer."""
    name = f"{draw.one(words.FIRST_NAMES)} {draw.one(words.LAST_NAMES)}"
    number, item, status = draw.number(100, 9999), draw.one(words.ITEMS), draw.one(words.STATUSES)
    find, get = offer(draw, FIND_CUSTOMER), offer(draw, GET_ORDER)
    offers = _mixed(draw, [find, get, *others(draw, (), 0, 2)])
    text = draw.one(
        ("What did {} order?", "What was the last order of {}?", "What is the order of {}?", "Look up the order of {}.")
    ).format(name)
    aim = f"the order of {name}"
    first = _call_analysis(effort, aim, offers, find, {"name": name})
    sample = Sample("functions", ("order", name, number, item), [user(text)], first)
    sample.tools = [entry.schema for entry in offers]
    step = draw.number(0, 2)
    if step == 0:
        sample.call, sample.task = ("find_customer", {"name": name}), "sequence"
        return sample
    keep = draw.chance(0.5)
    sample.history += [
        _called(first, find, {"name": name}, keep),
        _returned(find, _content(draw, {"customer_id": number})),
    ]
    second = _call_analysis(effort, aim, offers, get, {"customer_id": number})
    if step == 1:
        sample.analysis, sample.call, sample.task = second, ("get_order", {"customer_id": number}), "sequence"
        return sample
    content = _content(draw, {"item": item, "status": status})
    sample.history += [_called(second, get, {"customer_id": number}, keep), _returned(get, content)]
    sample.analysis = _result_analysis(effort, aim, get, content)
    sample.final = f"{name} ordered a {item}. It is {status}."
    sample.expect, sample.task = [sample.final], "sequence"
    return sample


def two_cities(draw: Draw, effort: str) -> Sample:
    """The weather in two cities: one call after the other, then both in the answer."""
    first, second = draw.some(words.CITIES, 2, 2)
    right = offer(draw, WEATHER)
    offers = _mixed(draw, [right, *others(draw, ("get_weather",), 0, 2)])
    text = draw.one(
        (
            "What is the weather in {} and in {}?",
            "What is the weather in {} and {}?",
            "Compare the weather in {} and {}.",
        )
    ).format(first, second)
    aim = f"the weather in {first} and {second}"
    degrees = [draw.number(0, 99), draw.number(0, 99)]
    sample = Sample("functions", ("cities", first, second), [user(text)], "", task="sequence")
    sample.tools = [entry.schema for entry in offers]
    step, keep = draw.number(0, 2), draw.chance(0.5)
    calls = [right.arguments([city, None]) for city in (first, second)]
    thoughts = [_call_analysis(effort, aim, offers, right, arguments) for arguments in calls]
    for index in range(step):
        content = _content(draw, {"temperature": degrees[index]})
        sample.history += [_called(thoughts[index], right, calls[index], keep), _returned(right, content)]
    if step < 2:
        sample.analysis, sample.call = thoughts[step], (right.name, calls[step])
        return sample
    sample.analysis = _result_analysis(effort, aim, right, content)
    sample.final = f"It is {degrees[0]} degrees in {first} and {degrees[1]} degrees in {second}."
    sample.expect = [sample.final]
    return sample


def function_sample(draw: Draw, effort: str) -> Sample:
    """Any of the above."""
    kind = draw.rng.random()
    if kind < 0.55:
        return single_call(draw, effort)
    if kind < 0.77:
        return no_call(draw, effort)
    return order_lookup(draw, effort) if kind < 0.9 else two_cities(draw, effort)
