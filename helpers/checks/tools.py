"""Checks of conversations with function tools: what was called, with what, and what became of the result."""

import json
from collections.abc import Sequence
from typing import Any

from helpers.checks.contract import Contract, Facts


def calls(messages: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """The calls of a chat conversation in order: (function, arguments as the model wrote them)."""
    found = [call["function"] for message in messages for call in message.get("tool_calls") or []]
    return [(call["name"], call["arguments"]) for call in found]


def called(
    messages: Sequence[dict[str, Any]], function: str, arguments: dict, answer: str, name: str = "functions.loop"
) -> Contract:
    """One call of `function` with exactly `arguments`, its result told, and an answer that uses it."""
    facts, made = Facts(), calls(messages)
    facts.same("called", ", ".join(one for one, _ in made), function)
    try:
        given = json.loads(made[0][1]) if made else None
    except ValueError:
        given = made[0][1]
    facts.same("arguments", json.dumps(given, sort_keys=True), json.dumps(arguments, sort_keys=True))
    facts.need("result told", any(message["role"] == "tool" for message in messages), "no tool message was sent")
    text = messages[-1].get("content") or ""
    facts.need(f"answer has {answer!r}", answer in text, f"the answer is {text[:200]!r}")
    return facts.contract(name, "function_calling")


def not_called(messages: Sequence[dict[str, Any]], answer: str, name: str = "functions.none_fits") -> Contract:
    """No call was made, and the question was answered all the same."""
    facts = Facts()
    facts.same("calls", len(calls(messages)), 0)
    text = messages[-1].get("content") or ""
    facts.need(f"answer has {answer!r}", answer in text, f"the answer is {text[:200]!r}")
    return facts.contract(name, "function_calling")
