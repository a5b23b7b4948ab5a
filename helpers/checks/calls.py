"""Checks of tool use and structured output. Pure: they look at replies and traces, they do not call.

A full model may add an argument that is optional, write a text of its own around a value, call a tool again, look at
more pages, or know the answer without a tool. None of that is a fault of the server, and the checks take it.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from helpers.checks.contract import Contract, Facts
from helpers.checks.endpoints import holds, ungrouped


def calls_of(reply: Any) -> list[tuple[str, str]]:
    """(name, arguments) of each function call in a chat completion or a Responses reply."""
    if getattr(reply, "object", "") == "response":
        return [(item.name, item.arguments) for item in reply.output if item.type == "function_call"]
    return [(call.function.name, call.function.arguments) for call in reply.choices[0].message.tool_calls or []]


def call(
    reply: Any, name: str, arguments: dict | None = None, contract: str = "function.call", finish: str = "tool_calls"
) -> Contract:
    """One function call: this function, arguments that are JSON and, where they are given, hold these."""
    facts = Facts()
    calls = calls_of(reply)
    facts.same("calls", len(calls), 1)
    found, text = calls[0] if calls else ("", "")
    facts.same("function", found, name)
    given = _json(text)
    facts.need("arguments JSON", isinstance(given, dict), f"the arguments are {text[:200]!r}")
    if arguments is not None:
        facts.need("arguments as asked", holds(given, arguments), f"{given} instead of {arguments}")
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
    must_call: bool = True,
) -> Contract:
    """A whole conversation: these tools were called (none where none fits), each result came back, and the answer holds
    `expect`; with `arguments`, the first call had these.

    The first call must be the first of `functions`; further ones may repeat a tool. Of a family (`browser.*`) any may come in
    any order. A model that knows the answer may call nothing: where `must_call` is false,
    such a reply is skipped, for it shows nothing of the tool.
    """
    facts = Facts()
    called = trace.tools()
    if functions and not called and not must_call:
        return Contract(contract, group, skipped="the model answered without the tool")
    facts.facts["called"] = ", ".join(called) or "nothing"
    if not same_tools(called, functions):
        facts.faults.append(f"called is {facts.facts['called']!r} instead of {', '.join(functions) or 'nothing'!r}")
    if arguments is not None:
        text = next((step.text for step in trace.steps if step.kind == "call"), "")
        facts.need("arguments as asked", holds(_json(text), arguments), f"{text[:200]!r} instead of {arguments}")
    results = len(trace.results())
    facts.need("results", results == len(called), f"{results} results for {len(called)} calls")
    said = ungrouped(trace.answer).lower()
    facts.need("answered", expect.lower() in said, f"{expect!r} is not in {trace.answer[:200]!r}")
    return facts.contract(contract, group)


def same_tools(called: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the calls hold the tools that are wanted in their order and no others; of a family, any of its tools.

    >>> same_tools(["add", "add"], ["add"]), same_tools(["add"], ["add", "add"]), same_tools(["add"], [])
    (True, False, False)
    >>> same_tools(["browser.search", "browser.find"], ["browser.search", "browser.open"])
    True
    >>> same_tools(["browser.open"], ["browser.search"]), same_tools(["browser.search", "python"], ["browser.search"])
    (True, False)
    """
    if not called or not wanted:
        return list(called) == list(wanted)
    if all("." in name for name in wanted):
        return {name.split(".")[0] for name in called} <= {name.split(".")[0] for name in wanted}
    rest = iter(called)
    return called[0] == wanted[0] and set(called) <= set(wanted) and all(name in rest for name in wanted)


def cited(trace: Any, cursor: int, line: int) -> Contract:
    """The answer names the page and line that it comes from."""
    facts = Facts()
    mark = rf"【{cursor}†L{line}(-L\d+)?】"
    facts.need("cites its line", bool(re.search(mark, trace.answer)), f"the answer is {trace.answer[:200]!r}")
    return facts.contract("browser.citation", "builtin_tools")


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


def streamed_call(chunks: Sequence[Any], name: str) -> Contract:
    """Streamed chat chunks whose argument pieces join to JSON, the name sent once."""
    facts = Facts()
    pieces = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    names = [piece.function.name for piece in pieces if piece.function and piece.function.name]
    text = "".join(piece.function.arguments or "" for piece in pieces if piece.function)
    facts.same("names", ", ".join(names), name)
    facts.need("arguments JSON", isinstance(_json(text), dict), f"joined they are {text[:200]!r}")
    return facts.contract("function.streaming", "function_calling")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
