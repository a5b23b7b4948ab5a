"""What users ask of the function tools: the text, the values it gives, a result and the answer to it."""

from dataclasses import dataclass

from nano.domain import words
from nano.domain.sample import Draw


@dataclass
class Request:
    """What a user asks of a tool: the text, the aim in words, the values given, a result and its answer."""

    text: str
    aim: str
    values: list
    result: dict
    answer: str


def weather(draw: Draw) -> Request:
    city, unit = draw.one(words.CITIES), None
    text = draw.one(
        (
            "What is the weather in {}?",
            "What's the weather in {}?",
            "What is the weather like in {}?",
            "What's the weather like in {} today?",
            "How is the weather in {}?",
            "Weather in {}?",
            "Tell me the weather in {}.",
            "How is the weather in {} right now?",
            "What is the current weather in {}?",
        )
    ).format(city)
    if draw.chance(0.35):
        unit = draw.one(("celsius", "fahrenheit"))
        text = draw.one((text[:-1] + f" in {unit}" + text[-1], f"{text} Use {unit}.", f"{text} In {unit}, please."))
    degrees, sky = draw.number(0, 99), draw.one(words.WEATHER)
    result = {"temperature": degrees}
    answer = f"It is {degrees} degrees in {city}."
    if draw.chance(0.7):
        result["condition"] = sky
        answer = f"It is {degrees} degrees and {sky} in {city}."
    if draw.chance(0.5):
        result["unit"] = unit or "celsius"
    if draw.chance(0.4):
        result["city"] = city
    return Request(text, f"the weather in {city}", [city, unit], result, answer)


def time(draw: Draw) -> Request:
    city, clock = draw.one(words.CITIES), f"{draw.number(0, 23):02}:{draw.number(0, 59):02}"
    text = draw.one(
        (
            "What time is it in {}?",
            "What is the time in {}?",
            "Tell me the time in {}.",
            "Current time in {}?",
            "What's the local time in {}?",
        )
    ).format(city)
    result = {"time": clock} | ({"city": city} if draw.chance(0.4) else {})
    return Request(text, f"the time in {city}", [city], result, f"It is {clock} in {city}.")


def currency(draw: Draw) -> Request:
    source, target = draw.some(words.CURRENCIES, 2, 2)
    amount, value = draw.number(1, 999), draw.number(1, 9999)
    text = draw.one(
        ("Convert {} {} to {}.", "How much is {} {} in {}?", "What is {} {} in {}?", "Change {} {} into {}.")
    ).format(amount, source, target)
    result = {"amount": value} | ({"currency": target} if draw.chance(0.6) else {})
    return Request(
        text,
        f"{amount} {source} in {target}",
        [amount, source, target],
        result,
        f"{amount} {source} are {value} {target}.",
    )


def phrase(draw: Draw) -> str:
    """A short text of ordinary words, as messages carry it."""
    noun = draw.one(words.NOUNS + words.ITEMS + words.EVENTS)
    return draw.one(
        (
            f"the {noun} is {draw.one(words.ADJECTIVES)}",
            f"the {draw.one(words.COLORS)} {noun} is {draw.one(words.ADJECTIVES)}",
            f"{draw.one(words.EVENTS)} at {draw.number(1, 23)}",
            f"see you on {draw.one(words.DAYS)}",
            f"please bring the {draw.one(words.COLORS)} {noun}",
            "I will be late",
            f"the {draw.one(words.EVENTS)} is on {draw.one(words.DAYS)} at {draw.number(1, 23)}",
            f"{draw.one(words.ADJECTIVES)} {noun} and {draw.one(words.ADJECTIVES)} {draw.one(words.NOUNS)}",
        )
    )


def message(draw: Draw) -> Request:
    name, body = draw.one(words.FIRST_NAMES), phrase(draw)
    text = draw.one(
        (
            'Send {} the message "{}".',
            'Send a message to {}: "{}"',
            'Tell {}: "{}"',
            'Write to {}: "{}"',
            'Message {} "{}"',
        )
    ).format(name, body)
    return Request(text, f"a message to {name}", [name, body], {"status": "sent"}, f"The message to {name} was sent.")


def event(draw: Draw) -> Request:
    title, day, hour = draw.one(words.EVENTS), draw.one(words.DAYS), draw.number(1, 23)
    text = draw.one(
        (
            "Schedule a {} on {} at {}.",
            "Create a {} on {} at {}.",
            "Plan a {} for {} at {}.",
            "Put a {} on {} at {} into my calendar.",
            "Add a {} on {} at {}.",
        )
    ).format(title, day, hour)
    result = {"status": "created"} | ({"id": draw.number(1, 999)} if draw.chance(0.5) else {})
    return Request(
        text, f"a {title} on {day} at {hour}", [title, day, hour], result, f"The {title} is on {day} at {hour}."
    )


def timer(draw: Draw) -> Request:
    minutes, label = draw.number(1, 120), None
    text = draw.one(
        (
            "Set a timer for {} minutes.",
            "Start a timer of {} minutes.",
            "Set a {} minute timer.",
            "Please set a timer for {} minutes.",
        )
    ).format(minutes)
    if draw.chance(0.4):
        label = draw.one(words.FOODS + words.EVENTS)
        text = draw.one((text[:-1] + f" for the {label}.", f"{text} Call it {label}.", f"{text} The label is {label}."))
    return Request(
        text,
        f"a timer for {minutes} minutes",
        [minutes, label],
        {"status": "started"},
        f"The timer for {minutes} minutes has started.",
    )


def stock(draw: Draw) -> Request:
    symbol, price = draw.one(words.SYMBOLS), draw.number(1, 999)
    text = draw.one(
        (
            "What is the price of {}?",
            "What is the stock price of {}?",
            "How much is {} stock?",
            "Get the stock price of {}.",
            "What does a share of {} cost?",
        )
    ).format(symbol)
    result = {"price": price} | ({"currency": "USD"} if draw.chance(0.5) else {})
    return Request(text, f"the price of {symbol}", [symbol], result, f"{symbol} costs {price} USD.")


def flight(draw: Draw) -> Request:
    origin, target = draw.some(words.CITIES, 2, 2)
    day, people = draw.one(words.DAYS), None
    text = draw.one(
        (
            "Find a flight from {} to {} on {}.",
            "Search flights from {} to {} on {}.",
            "I need a flight from {} to {} on {}.",
            "Is there a flight from {} to {} on {}?",
        )
    ).format(origin, target, day)
    if draw.chance(0.4):
        people = draw.number(2, 9)
        text = f"{text[:-1]} for {people} people{text[-1]}"
    price, clock = draw.number(40, 999), f"{draw.number(0, 23):02}:{draw.number(0, 59):02}"
    result = {"price": price, "departure": clock} if draw.chance(0.7) else {"departure": clock, "price": price}
    return Request(
        text,
        f"a flight from {origin} to {target} on {day}",
        [origin, target, day, people],
        result,
        f"A flight from {origin} to {target} leaves at {clock} and costs {price} USD.",
    )


def addition(draw: Draw) -> Request:
    a, b = draw.number(1, 999), draw.number(1, 999)
    text = draw.one(
        ("What is {} + {}?", "Add {} and {}.", "Compute {} + {}.", "What is {} plus {}?", "Calculate {} + {}.")
    ).format(a, b)
    return Request(text, f"{a} + {b}", [a, b], {"result": a + b}, f"{a} + {b} = {a + b}")


def multiplication(draw: Draw) -> Request:
    a, b = draw.number(2, 999), draw.number(2, 999)
    text = draw.one(
        (
            "What is {} * {}?",
            "Multiply {} by {}.",
            "Compute {} * {}.",
            "What is {} times {}?",
            "Calculate {} * {}.",
            "Multiply {} and {}.",
        )
    ).format(a, b)
    return Request(text, f"{a} * {b}", [a, b], {"result": a * b}, f"{a} * {b} = {a * b}")


def light(draw: Draw) -> Request:
    room, state = draw.one(words.ROOMS), draw.one(("on", "off"))
    text = draw.one(
        (
            "Turn {1} the light in the {0}.",
            "Turn the {0} light {1}.",
            "Switch {1} the light in the {0}.",
            "Please turn {1} the {0} light.",
        )
    ).format(room, state)
    return Request(
        text,
        f"the light in the {room} {state}",
        [room, state],
        {"status": "done"},
        f"The light in the {room} is {state}.",
    )
