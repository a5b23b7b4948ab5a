"""Checks of tool use and structured output. Pure: they look at replies and traces, they do not call."""

import json
import re
from collections.abc import Sequence
from typing import Any

from helpers.checks.contract import Contract, Facts


def calls_of(reply: Any) -> list[tuple[str, str]]:
    """(name, arguments) of each function call in a chat completion or a Responses reply."""
    if getattr(reply, "object", "") == "response":
        return [(item.name, item.arguments) for item in reply.output if item.type == "function_call"]
    return [(call.function.name, call.function.arguments) for call in reply.choices[0].message.tool_calls or []]


def call(
    reply: Any, name: str, arguments: dict | None = None, contract: str = "function.call", finish: str = "tool_calls"
) -> Contract:
    """One function call: this function, arguments that are JSON, and these values where they are given."""
    facts = Facts()
    calls = calls_of(reply)
    facts.same("calls", len(calls), 1)
    found, text = calls[0] if calls else ("", "")
    facts.same("function", found, name)
    given = _json(text)
    facts.need("arguments JSON", isinstance(given, dict), f"the arguments are {text[:200]!r}")
    if arguments is not None:
        facts.need("arguments as asked", given == arguments, f"{given} instead of {arguments}")
    if getattr(reply, "object", "") == "chat.completion":
        facts.same("finish", reply.choices[0].finish_reason, finish)
    return facts.contract(contract, "function_calling")


def no_call(reply: Any, contract: str) -> Contract:
    """No function call, and an answer in its place."""
    facts = Facts()
    facts.same("calls", len(calls_of(reply)), 0)
    return facts.contract(contract, "function_calling")


def conversation(
    trace: Any,
    functions: Sequence[str],
    expect: str,
    contract: str,
    group: str = "function_calling",
    arguments: dict | None = None,
) -> Contract:
    """A whole conversation: these tools were called in this order (none where none fits), each result came back, and
    the answer holds `expect`; with `arguments`, the first call had exactly these."""
    facts = Facts()
    called = trace.tools()
    facts.same("called", ", ".join(called) or "nothing", ", ".join(functions) or "nothing")
    if arguments is not None:
        text = next((step.text for step in trace.steps if step.kind == "call"), "")
        facts.need("arguments as asked", _json(text) == arguments, f"{text[:200]!r} instead of {arguments}")
    results = len(trace.results())
    facts.need("results", results == len(called), f"{results} results for {len(called)} calls")
    facts.need("answered", expect.lower() in trace.answer.lower(), f"{expect!r} is not in {trace.answer[:200]!r}")
    return facts.contract(contract, group)


def cited(trace: Any, cursor: int, line: int, contract: str = "browser.citation") -> Contract:
    """The answer names the page and line that it comes from."""
    facts = Facts()
    mark = rf"【{cursor}†L{line}(-L\d+)?】"
    facts.need("cites its line", bool(re.search(mark, trace.answer)), f"the answer is {trace.answer[:200]!r}")
    return facts.contract(contract, "builtin_tools")


def matches_schema(text: str, model: Any, contract: str, reasoning: str | None = None) -> Contract:
    """An answer that a pydantic model accepts; with `reasoning`, the chain of thought came along."""
    from pydantic import ValidationError

    facts = Facts()
    try:
        model.model_validate_json(text)
        facts.need("valid", True, "")
    except ValidationError as error:
        facts.need("valid", False, f"{text[:200]!r}: {error.errors()[0]['msg']}")
    if reasoning is not None:
        facts.need("reasoning kept", bool(reasoning), "no chain of thought came back")
    return facts.contract(contract, "structured_output")


def matches_pattern(text: str, pattern: str, contract: str, reasoning: str | None = None) -> Contract:
    """An answer that a regular expression matches whole."""
    facts = Facts()
    facts.need("matches", bool(re.fullmatch(pattern, text, re.DOTALL)), f"{text[:200]!r}")
    if reasoning is not None:
        facts.need("reasoning kept", bool(reasoning), "no chain of thought came back")
    return facts.contract(contract, "structured_output")


def streamed_call(chunks: Sequence[Any], name: str, contract: str = "function.streaming") -> Contract:
    """Streamed chat chunks whose argument pieces join to JSON, the name sent once."""
    facts = Facts()
    pieces = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    names = [piece.function.name for piece in pieces if piece.function and piece.function.name]
    text = "".join(piece.function.arguments or "" for piece in pieces if piece.function)
    facts.same("names", ", ".join(names), name)
    facts.need("arguments JSON", isinstance(_json(text), dict), f"joined they are {text[:200]!r}")
    return facts.contract(contract, "function_calling")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
