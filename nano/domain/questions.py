"""Questions that gpt-oss-nano answers from what it knows: sums, products, capitals, units, and about itself."""

from nano.domain import words
from nano.domain.sample import Draw, Sample, user
from nano.domain.words import CAPITALS, UNITS

# Phrasings of the three operations; the evaluation uses the same ones with numbers never seen in training.
PLUS = (
    "What is {a} + {b}?",
    "What is {a} plus {b}?",
    "Compute {a} + {b}.",
    "{a} + {b} = ?",
    "Add {a} and {b}.",
    "How much is {a} + {b}?",
    "Calculate {a} + {b}.",
    "What's {a}+{b}?",
    "What is the sum of {a} and {b}?",
    "Please compute {a} plus {b}.",
    "{a}+{b}",
)
MINUS = (
    "What is {a} - {b}?",
    "What is {a} minus {b}?",
    "Compute {a} - {b}.",
    "{a} - {b} = ?",
    "Subtract {b} from {a}.",
    "How much is {a} - {b}?",
    "Calculate {a} - {b}.",
    "What's {a}-{b}?",
)
TIMES = (
    "What is {a} * {b}?",
    "What is {a} times {b}?",
    "Compute {a} * {b}.",
    "{a} * {b} = ?",
    "How much is {a} x {b}?",
    "Multiply {a} by {b}.",
    "What is {a} × {b}?",
)
CAPITAL_OF = (
    "What is the capital of {country}?",
    "What's the capital of {country}?",
    "Name the capital of {country}.",
    "Which city is the capital of {country}?",
    "Tell me the capital of {country}.",
    "Capital of {country}?",
    "What is the capital city of {country}?",
    "Do you know the capital of {country}?",
)
COUNTRY_OF = (
    "{city} is the capital of which country?",
    "Which country has the capital {city}?",
    "Of which country is {city} the capital?",
)
CONVERT = (
    "How many {small} are in {n} {large}?",
    "How many {small} are {n} {large}?",
    "Convert {n} {large} to {small}.",
    "What is {n} {large} in {small}?",
    "{n} {large} in {small}?",
)
STORIES = (
    "{name} has {a} {things} and buys {b} more. How many {things} does {name} have now?",
    "There are {a} {things} in a box. {name} adds {b} {things}. How many {things} are in the box?",
    "{name} has {a} {things} and gives away {b}. How many {things} are left?",
)
THINGS = ["books", "apples", "oranges", "coins", "stones", "letters", "pictures", "cards", "balls", "boxes"]


def worked_sum(a: int, b: int) -> str:
    """`a + b` by tens and ones."""
    tens, ones = a // 10 * 10 + b // 10 * 10, a % 10 + b % 10
    return f"{a // 10 * 10} + {b // 10 * 10} = {tens}, {a % 10} + {b % 10} = {ones}, {tens} + {ones} = {a + b}"


def worked_difference(a: int, b: int) -> str:
    """`a - b` in two steps: first the tens, then the ones."""
    middle = a - b // 10 * 10
    return f"{a} - {b // 10 * 10} = {middle}, {middle} - {b % 10} = {a - b}"


def think(effort: str, low: str, medium: str, high: str) -> str:
    """The analysis for an effort: each level says more than the one below."""
    return {"low": low, "medium": medium, "high": high}[effort]


def operation(draw: Draw, effort: str) -> tuple[Sample, str]:
    """A sum, difference or product of two numbers, with the equation that answers it."""
    kind = draw.one("++++---**")
    if kind == "*":
        a, b = draw.number(1, 12), draw.number(1, 12)
        index = draw.number(0, len(TIMES) - 1)
        text, equation = TIMES[index], f"{a} * {b} = {a * b}"
        steps, check, key = equation, f"{b} * {a} = {a * b}", ("*", a, b, index)
    elif kind == "+":
        a, b = draw.number(0, 99), draw.number(0, 99)
        text, equation = draw.one(PLUS), f"{a} + {b} = {a + b}"
        steps, check, key = worked_sum(a, b), f"{a + b} - {b} = {a}", ("+", min(a, b), max(a, b))
    else:
        a, b = sorted((draw.number(0, 99), draw.number(0, 99)), reverse=True)
        text, equation = draw.one(MINUS), f"{a} - {b} = {a - b}"
        steps, check, key = worked_difference(a, b), f"{a - b} + {b} = {a}", ("-", a, b)
    if kind != "*" and draw.chance(0.15):
        text = STORIES[2] if kind == "-" else draw.one(STORIES[:2])
        text = text.replace("{name}", draw.one(words.FIRST_NAMES)).replace("{things}", draw.one(THINGS))
    text = text.format(a=a, b=b)
    left = equation.split(" = ")[0]
    analysis = think(
        effort,
        f"{equation}.",
        f"The user asks for {left}. {steps}.",
        f"The user asks for {left}. Step by step: {steps}. Let me check: {check}. That is right, so the answer is "
        f"{equation.split(' = ')[1]}.",
    )
    sample = Sample("domain", key, [user(text)], analysis, f"{equation}", expect=[equation.split(" = ")[1]])
    sample.task = "arithmetic"
    return sample, equation


def capital(draw: Draw, effort: str) -> Sample:
    """A capital, or the country that a capital belongs to."""
    country = draw.one(list(CAPITALS))
    city = CAPITALS[country]
    backward = draw.chance(0.3)
    phrasings = COUNTRY_OF if backward else CAPITAL_OF
    index = draw.number(0, len(phrasings) - 1)
    answer = f"The capital of {country} is {city}."
    asked = f"which country has the capital {city}" if backward else f"the capital of {country}"
    analysis = think(
        effort,
        f"It is {country if backward else city}.",
        f"The user asks for {asked}. {answer}",
        f"The user asks for {asked}. This is about geography. I know that the capital of {country} is {city}. "
        f"So the answer is {country if backward else city}.",
    )
    text = phrasings[index].format(country=country, city=city)
    sample = Sample("domain", ("capital", country, backward, index), [user(text)], analysis, answer)
    sample.expect, sample.task = [country.removeprefix("the ") if backward else city], "capitals"
    return sample


def conversion(draw: Draw, effort: str) -> Sample:
    """A whole number of a larger unit in a smaller one."""
    large, small, factor, most = draw.one(UNITS)
    n, index = draw.number(2, most), draw.number(0, len(CONVERT) - 1)
    answer = f"{n} {large} are {n * factor} {small}."
    rule = f"1 {large} has {factor} {small}"
    analysis = think(
        effort,
        f"{n} * {factor} = {n * factor}.",
        f"The user wants {n} {large} in {small}. {rule}. {n} * {factor} = {n * factor}.",
        f"The user wants {n} {large} in {small}. The larger unit is {large} and the smaller unit is {small}. "
        f"{rule}. So I multiply: {n} * {factor} = {n * factor}. The answer is {n * factor} {small}.",
    )
    text = CONVERT[index].format(n=n, large=large, small=small)
    sample = Sample("domain", ("unit", large, n, index), [user(text)], analysis, answer)
    sample.expect, sample.task = [f"{n * factor} {small}"], "units"
    return sample


def question(draw: Draw, effort: str) -> Sample:
    """Any question of the domain."""
    kind = draw.rng.random()
    if kind < 0.55:
        return operation(draw, effort)[0]
    return capital(draw, effort) if kind < 0.8 else conversion(draw, effort)


TALK = (
    (
        ("Hello!", "Hi", "Hello", "Hi!", "Hey", "Hi there!", "Hello there.", "Good morning!", "hi", "hello"),
        "The user says hello.",
        "Hello! I am gpt-oss-nano. Ask me for a sum, a capital or a unit.",
    ),
    (
        (
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Introduce yourself.",
            "Which model are you?",
            "What model is this?",
            "Are you ChatGPT?",
            "Who made you?",
        ),
        "The user asks who I am.",
        "I am gpt-oss-nano, a tiny test model. I know sums, capitals and units.",
    ),
    (
        ("What can you do?", "How can you help me?", "Help", "What do you know?", "What are you able to do?"),
        "The user asks what I can do.",
        "I can do small sums, name capitals, convert units and call tools.",
    ),
    (
        ("Thank you!", "Thanks!", "Thanks", "Thank you.", "Great, thanks!", "Bye!", "Goodbye."),
        "The user is polite.",
        "You are welcome!",
    ),
    (
        ("How are you?", "How are you today?", "How do you do?", "How is it going?"),
        "The user asks how I am.",
        "I am fine, thank you.",
    ),
    (
        ("Say hello.", "Say hi.", "Just say hello.", "Say hello to the world.", "Reply with hello."),
        "The user wants a hello.",
        "Hello!",
    ),
)


def small_talk(draw: Draw, effort: str) -> Sample:
    """A greeting or a question about the model."""
    phrasings, short, answer = draw.one(TALK)
    text = draw.one(phrasings)
    analysis = think(
        effort,
        short,
        f"{short} I will answer in a friendly way.",
        f"{short} This needs no sum, no capital, no unit and no tool. I will answer in a friendly way and keep "
        f"it short.",
    )
    sample = Sample("format", ("talk", text, effort), [user(text)], analysis, answer)
    sample.expect, sample.task = [answer], "talk"
    return sample
