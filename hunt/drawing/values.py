"""Values for the parameters that users combine: mostly good ones, at times at a limit or past it."""

import math
from typing import Any

from hypothesis import strategies as st

from hunt.request import repeat

Strategy = st.SearchStrategy[Any]
VOCABULARY = 201_088  # rows of gpt-oss's embedding (recipes/models/*.yaml)
SPECIAL = (
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|channel|>",
    "<|call|>",
    "<|return|>",
    "<|endoftext|>",
    "<|constrain|>",
)
HUGE = (2**31 - 1, 2**31, 2**32, 2**40, 2**63 - 1, 2**63, 2**70)
ODD_NUMBERS = (math.nan, math.inf, -math.inf, 1e300, -1e300, 5e-324, -0.0)
WORDS = ("What is 2 + 2?", "Say hello.", "List three colours.", "Who wrote Faust?", "Count to ten.")


def mostly(good: Strategy, beyond: Strategy, of: int = 8) -> Strategy:
    """`good`, and once in `of` times `beyond`."""
    return st.integers(1, of).flatmap(lambda n: beyond if n == of else good)


def choice(*values: Any) -> Strategy:
    return st.sampled_from(values)


def whole(low: int, high: int) -> Strategy:
    """A whole number from `low` to `high`, or one outside, or none at all."""
    outside = choice(low - 1, high + 1, -1, 0, *HUGE, -(2**63), "7", 1.5, None, True)
    return mostly(st.integers(low, high), outside)


def real(low: float, high: float) -> Strategy:
    """A number from `low` to `high`, both often, or one outside."""
    inside = st.one_of(choice(low, high), st.floats(low, high, allow_nan=False))
    return mostly(inside, choice(low - 1, high + 1, *ODD_NUMBERS, "0.5", None))


def text(longest: int = 20) -> Strategy:
    """Text: words, special tokens, anything that Unicode has, lone surrogates."""
    anything = st.text(max_size=longest)
    lone = choice("\ud800", "a\udfff", "\x00", "\ufffe", "‮", "🏴\U000e0067", "é" * 9)
    return mostly(st.one_of(choice(*WORDS), choice(*SPECIAL), anything), lone)


KNOWN = choice(0, 199_998, 200_002, 200_006, 200_012, 200_500, VOCABULARY - 1)  # special ones, and rows without a token
tokens = mostly(st.one_of(st.integers(0, VOCABULARY - 1), KNOWN), choice(-1, VOCABULARY, VOCABULARY + 500, *HUGE))
names = mostly(choice("f", "get_weather", "a.b", "x" * 64), choice("", " ", "x" * 300, "a b", "é", "functions.f"))


def some(items: Strategy, most: int = 4) -> Strategy:
    """A list of a few, at times empty or very long."""
    return mostly(
        st.lists(items, min_size=1, max_size=most), st.one_of(st.just([]), items.map(lambda x: repeat([x], 3_000)))
    )


long_texts = st.builds(
    lambda head, word, times: repeat(f"{head}{word}", times),
    st.integers(0, 9_999),
    choice(" word", " Faust", "é", "<|end|>", "a", "\n"),
    st.one_of(st.integers(100, 700), st.integers(700, 2_500), st.integers(1_500, 2_500)),
)
"""Prompts of up to some 7,500 tokens that begin in 10,000 ways: little of them is cached."""

leaf_schemas: Strategy = st.one_of(
    choice(
        {"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"type": "null"}, {"type": "number"}, {}, True
    ),
    choice({"type": "string", "pattern": "^a+$"}, {"type": "string", "format": "date"}, {"enum": ["a", 1, None]}),
    choice({"type": "string", "minLength": 5, "maxLength": 3}, {"type": "integer", "minimum": 5, "maximum": 1}),
    choice(
        {"type": "string", "pattern": "(a|a)*b"},
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "string", "pattern": "("},
    ),
    choice({"const": {"a": 1}}, {"enum": []}, {"type": "wizard"}, {"$ref": "#"}, {"$ref": "#/$defs/x"}, False),
    choice({"type": "integer", "multipleOf": 0}, {"type": "string", "minLength": 10**9}, {"type": ["string", "null"]}),
)
schemas: Strategy = st.recursive(
    leaf_schemas,
    lambda inner: st.one_of(
        st.dictionaries(st.text(max_size=5), inner, max_size=4).map(
            lambda fields: {"type": "object", "properties": fields, "required": list(fields)[:2]}
        ),
        inner.map(lambda one: {"type": "array", "items": one, "minItems": 1, "maxItems": 3}),
        st.lists(inner, max_size=3).map(lambda many: {"anyOf": many}),
        st.lists(inner, max_size=3).map(lambda many: {"allOf": many}),
        inner.map(lambda one: {"not": one}),
        inner.map(lambda one: {"type": "object", "patternProperties": {"^a": one}, "additionalProperties": one}),
        inner.map(lambda one: {"$defs": {"x": one}, "$ref": "#/$defs/x"}),
    ),
    max_leaves=6,
)
patterns = choice(
    "a+",
    "[0-9]{1,3}",
    "",
    "(",
    "(a|b)*c",
    "(a{1,1000}){1,1000}",
    ".*",
    "\\d+",
    "^$",
    "(?!a)b",
    "[",
    "\\p{L}",
    "a{5,2}",
    "é+",
)
grammars = choice(
    'root ::= "a" | "b"',
    'root ::= root "a" | "b"',
    "root ::= ",
    "",
    "root ::= missing",
    'start: "a"',
    "%%%",
    'root ::= "a"*',
    "root ::= x\nx ::= root",
    "?start: expr\nexpr: NUMBER\nNUMBER: /[0-9]+/",
    "SELECT",
    'root ::= "" ',
    "root ::= [^]",
)
tags = st.builds(
    lambda begin, end, schema, triggers: {
        "type": "structural_tag",
        "structures": [{"begin": begin, "schema": schema, "end": end}],
        "triggers": triggers,
    },
    choice("<a>", "", "<|channel|>"),
    choice("</a>", ""),
    schemas,
    choice(["<a"], [""], [], ["<|"]),
)
structured = st.one_of(
    st.fixed_dictionaries({"json": schemas}),
    st.fixed_dictionaries({"regex": patterns}),
    st.fixed_dictionaries({"choice": some(text(6))}),
    st.fixed_dictionaries({"grammar": grammars}),
    st.just({"json_object": True}),
    st.fixed_dictionaries(
        {"structural_tag": choice("{}", '{"type": "structural_tag", "format": {"type": "any_text"}}', "x")}
    ),
    st.fixed_dictionaries({"json": schemas, "regex": patterns}),
    choice({}, None, "json", {"choice": [""]}, {"wizard": 1}),
)
formats = st.one_of(
    choice({"type": "json_object"}, {"type": "text"}, {"type": "wizard"}, {}, None, {"type": "json_schema"}),
    schemas.map(lambda s: {"type": "json_schema", "json_schema": {"name": "x", "schema": s, "strict": True}}),
    tags,
)
