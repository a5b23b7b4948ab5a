"""The function tools that gpt-oss-nano is trained to call, each with its schema, requests and results."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from nano.domain import words
from nano.domain.sample import Draw


@dataclass(frozen=True)
class Parameter:
    """One argument of a tool: its names (the first is the usual one), JSON type, choices and descriptions."""

    names: tuple[str, ...]
    kind: str = "string"
    enum: tuple[str, ...] = ()
    required: bool = True
    texts: tuple[str, ...] = ()

    def schema(self, draw: Draw) -> dict:
        """Its JSON schema in one of the wordings that training sees."""
        schema = {"type": self.kind}
        if self.enum:
            schema["enum"] = list(self.enum)
        if self.texts and draw.chance(0.5):
            schema["description"] = draw.one(self.texts)
        if not self.required and self.enum and draw.chance(0.3):
            schema["default"] = self.enum[0]
        return schema


@dataclass
class Request:
    """What a user asks of a tool: the text, the aim in words, the values given, a result and its answer."""

    text: str
    aim: str
    values: list
    result: dict
    answer: str


@dataclass(frozen=True)
class Tool:
    """A function tool: its names, descriptions, parameters in their usual order, and its requests."""

    names: tuple[str, ...]
    texts: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    request: Callable[[Draw], Request] = field(compare=False)


def _weather(draw: Draw) -> Request:
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


def _time(draw: Draw) -> Request:
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


def _currency(draw: Draw) -> Request:
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


def _message(draw: Draw) -> Request:
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


def _event(draw: Draw) -> Request:
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


def _timer(draw: Draw) -> Request:
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


def _stock(draw: Draw) -> Request:
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


def _flight(draw: Draw) -> Request:
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


def _sum(draw: Draw) -> Request:
    a, b = draw.number(1, 999), draw.number(1, 999)
    text = draw.one(
        ("What is {} + {}?", "Add {} and {}.", "Compute {} + {}.", "What is {} plus {}?", "Calculate {} + {}.")
    ).format(a, b)
    return Request(text, f"{a} + {b}", [a, b], {"result": a + b}, f"{a} + {b} = {a + b}")


def _product(draw: Draw) -> Request:
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


def _light(draw: Draw) -> Request:
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


_CITY = Parameter(
    ("city", "city", "city", "location"),
    texts=("The city.", "Name of the city", "The name of the city, for example Paris.", "City name"),
)
_TWO_NUMBERS = (
    Parameter(("a", "a", "x"), "integer", texts=("The first number.",)),
    Parameter(("b", "b", "y"), "integer", texts=("The second number.",)),
)
WEATHER = Tool(
    ("get_weather", "get_weather", "get_weather", "get_current_weather"),
    (
        "Get the current weather in a city.",
        "Get the current weather for a given city.",
        "Current weather of a city",
        "Get the weather.",
    ),
    (
        _CITY,
        Parameter(
            ("unit",),
            enum=("celsius", "fahrenheit"),
            required=False,
            texts=("The unit of the temperature.", "Temperature unit"),
        ),
    ),
    _weather,
)
FIND_CUSTOMER = Tool(
    ("find_customer",),
    ("Find a customer by name.", "Look up the id of a customer."),
    (Parameter(("name",), texts=("The name of the customer.",)),),
    _time,
)
GET_ORDER = Tool(
    ("get_order",),
    ("Get the last order of a customer.", "Get an order by customer id."),
    (Parameter(("customer_id",), "integer", texts=("The id of the customer.",)),),
    _time,
)
TOOLS = (
    WEATHER,
    Tool(
        ("get_time", "get_time", "get_current_time"),
        ("Get the local time in a city.", "Current time of a city"),
        (_CITY,),
        _time,
    ),
    Tool(
        ("convert_currency",),
        ("Convert an amount of money.", "Convert money between currencies."),
        (
            Parameter(("amount",), "integer", texts=("The amount to convert.",)),
            Parameter(
                ("source", "from_currency"), enum=tuple(words.CURRENCIES), texts=("The currency of the amount.",)
            ),
            Parameter(("target", "to_currency"), enum=tuple(words.CURRENCIES), texts=("The currency to convert to.",)),
        ),
        _currency,
    ),
    Tool(
        ("send_message", "send_message", "send_email"),
        ("Send a message to a person.", "Send a text to somebody."),
        (
            Parameter(("recipient", "to"), texts=("Who gets the message.", "The name of the person.")),
            Parameter(("text", "body"), texts=("The text of the message.",)),
        ),
        _message,
    ),
    Tool(
        ("create_event", "create_event", "add_event"),
        ("Create an event in the calendar.", "Add an event to the calendar."),
        (
            Parameter(("title",), texts=("What the event is.",)),
            Parameter(("day",), enum=tuple(words.DAYS), texts=("The day of the week.",)),
            Parameter(("hour",), "integer", texts=("The hour, 0 to 23.",)),
        ),
        _event,
    ),
    Tool(
        ("set_timer", "set_timer", "start_timer"),
        ("Set a timer.", "Start a timer of some minutes."),
        (
            Parameter(("minutes",), "integer", texts=("How many minutes.",)),
            Parameter(("label",), required=False, texts=("A name for the timer.",)),
        ),
        _timer,
    ),
    Tool(
        ("get_stock_price",),
        ("Get the price of a stock.", "Current price of a share"),
        (Parameter(("symbol",), texts=("The symbol of the stock.", "Ticker symbol")),),
        _stock,
    ),
    Tool(
        ("search_flights", "search_flights", "find_flight"),
        ("Search for flights.", "Find a flight between two cities."),
        (
            Parameter(("origin",), texts=("Where the flight starts.",)),
            Parameter(("destination",), texts=("Where the flight ends.",)),
            Parameter(("day",), enum=tuple(words.DAYS), texts=("The day of the flight.",)),
            Parameter(("passengers",), "integer", required=False, texts=("How many people fly.",)),
        ),
        _flight,
    ),
    Tool(("add", "add", "add_numbers"), ("Add two numbers.", "The sum of two integers."), _TWO_NUMBERS, _sum),
    Tool(
        ("multiply", "multiply", "multiply_numbers"),
        ("Multiply two numbers.", "The product of two integers."),
        _TWO_NUMBERS,
        _product,
    ),
    Tool(
        ("set_light", "set_light", "switch_light"),
        ("Turn a light on or off.", "Switch the light in a room."),
        (
            Parameter(("room",), enum=tuple(words.ROOMS), texts=("The room.",)),
            Parameter(("state",), enum=("on", "off"), texts=("On or off.",)),
        ),
        _light,
    ),
)


@dataclass
class Offer:
    """A tool as offered in one request: its schema and the names its parameters got, in the usual order."""

    tool: Tool | None
    schema: dict
    keys: list[str]

    @property
    def name(self) -> str:
        """Its name."""
        return self.schema["function"]["name"]

    def arguments(self, values: list) -> dict:
        """The call's arguments, in the schema's order, without those that were not given."""
        given = {key: value for key, value in zip(self.keys, values, strict=True) if value is not None}
        return {key: given[key] for key in self.schema["function"]["parameters"]["properties"] if key in given}


def offer(draw: Draw, tool: Tool, usual: bool | None = None) -> Offer:
    """A tool in one of its wordings; in its usual one about half of the time."""
    usual = draw.chance(0.5) if usual is None else usual
    keys = [parameter.names[0] if usual else draw.one(parameter.names) for parameter in tool.parameters]
    order = list(range(len(keys)))
    if not usual and draw.chance(0.15):
        draw.rng.shuffle(order)
    properties = {keys[index]: tool.parameters[index].schema(draw) for index in order}
    required = [keys[index] for index in order if tool.parameters[index].required]
    parameters = {"type": "object", "properties": properties, "required": required}
    if draw.chance(0.3):
        parameters["additionalProperties"] = False
    function = {
        "name": tool.names[0] if usual else draw.one(tool.names),
        "description": tool.texts[0] if usual else draw.one((*tool.texts, "")),
        "parameters": parameters,
    }
    return Offer(tool, {"type": "function", "function": function}, keys)


def stranger(draw: Draw) -> Offer:
    """A tool that no request needs, with a name and a text made up on the spot."""
    verb, noun = (
        draw.one(("open", "close", "read", "list", "delete", "update", "play", "book", "print")),
        draw.one(words.NOUNS + words.ITEMS),
    )
    text = " ".join(draw.rare("item") if draw.chance(0.5) else draw.one(words.NOUNS) for _ in range(draw.number(1, 9)))
    keys = draw.some(("id", "name", "size", "color", "title", "limit", "path", "date", "value"), 0, 3)
    properties = {key: {"type": draw.one(("string", "integer", "boolean", "number"))} for key in keys}
    if keys and draw.chance(0.5):
        properties[keys[0]]["description"] = f"The {draw.rare('name')} of the {noun}."
    function = {
        "name": f"{verb}_{noun}",
        "description": text,
        "parameters": {"type": "object", "properties": properties, "required": keys[:1]},
    }
    return Offer(None, {"type": "function", "function": function}, keys)


def dumps(value: dict) -> str:
    """JSON as the model writes it."""
    return json.dumps(value, ensure_ascii=False)
