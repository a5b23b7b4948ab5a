"""The function tools that gpt-oss-nano is trained to call, each with its schema."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from nano.domain import words
from nano.domain.sample import Draw
from nano.domain.tools import requests


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


@dataclass(frozen=True)
class Tool:
    """A function tool: its names, descriptions, parameters in their usual order, and its requests."""

    names: tuple[str, ...]
    texts: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    request: Callable[[Draw], requests.Request] = field(compare=False)


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
    requests.weather,
)
FIND_CUSTOMER = Tool(
    ("find_customer",),
    ("Find a customer by name.", "Look up the id of a customer."),
    (Parameter(("name",), texts=("The name of the customer.",)),),
    requests.time,
)
GET_ORDER = Tool(
    ("get_order",),
    ("Get the last order of a customer.", "Get an order by customer id."),
    (Parameter(("customer_id",), "integer", texts=("The id of the customer.",)),),
    requests.time,
)
TOOLS = (
    WEATHER,
    Tool(
        ("get_time", "get_time", "get_current_time"),
        ("Get the local time in a city.", "Current time of a city"),
        (_CITY,),
        requests.time,
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
        requests.currency,
    ),
    Tool(
        ("send_message", "send_message", "send_email"),
        ("Send a message to a person.", "Send a text to somebody."),
        (
            Parameter(("recipient", "to"), texts=("Who gets the message.", "The name of the person.")),
            Parameter(("text", "body"), texts=("The text of the message.",)),
        ),
        requests.message,
    ),
    Tool(
        ("create_event", "create_event", "add_event"),
        ("Create an event in the calendar.", "Add an event to the calendar."),
        (
            Parameter(("title",), texts=("What the event is.",)),
            Parameter(("day",), enum=tuple(words.DAYS), texts=("The day of the week.",)),
            Parameter(("hour",), "integer", texts=("The hour, 0 to 23.",)),
        ),
        requests.event,
    ),
    Tool(
        ("set_timer", "set_timer", "start_timer"),
        ("Set a timer.", "Start a timer of some minutes."),
        (
            Parameter(("minutes",), "integer", texts=("How many minutes.",)),
            Parameter(("label",), required=False, texts=("A name for the timer.",)),
        ),
        requests.timer,
    ),
    Tool(
        ("get_stock_price",),
        ("Get the price of a stock.", "Current price of a share"),
        (Parameter(("symbol",), texts=("The symbol of the stock.", "Ticker symbol")),),
        requests.stock,
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
        requests.flight,
    ),
    Tool(
        ("add", "add", "add_numbers"), ("Add two numbers.", "The sum of two integers."), _TWO_NUMBERS, requests.addition
    ),
    Tool(
        ("multiply", "multiply", "multiply_numbers"),
        ("Multiply two numbers.", "The product of two integers."),
        _TWO_NUMBERS,
        requests.multiplication,
    ),
    Tool(
        ("set_light", "set_light", "switch_light"),
        ("Turn a light on or off.", "Switch the light in a room."),
        (
            Parameter(("room",), enum=tuple(words.ROOMS), texts=("The room.",)),
            Parameter(("state",), enum=("on", "off"), texts=("On or off.",)),
        ),
        requests.light,
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
