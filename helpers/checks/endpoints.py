"""Checks of whole replies: Responses, chat completions, completions. Pure: they look, they do not call.

They hold for the full models too. Where those may answer otherwise than gpt-oss-nano and still be right, the check
says so and takes it.
"""

import json
import re
from typing import Any

from helpers.checks.contract import Contract, Facts


def response_text(reply: Any) -> str:
    """The answer of a Responses reply: every output text of its messages."""
    messages = [item for item in reply.output if item.type == "message"]
    return "".join(part.text for item in messages for part in item.content if part.type == "output_text")


def response_reasoning(reply: Any) -> str:
    """The chain of thought of a Responses reply."""
    items = [item for item in reply.output if item.type == "reasoning"]
    return "".join(part.text for item in items for part in (item.content or []))


def says(facts: Facts, text: str, expect: str | None) -> None:
    """The fact that an answer holds what is expected of it, in any letter case; none where nothing is."""
    if expect is not None:
        facts.need(f"answer has {expect!r}", expect.lower() in text.lower(), f"the answer is {text[:200]!r}")


def responses(reply: Any, expect: str | None = None, name: str = "responses") -> Contract:
    """A finished Responses reply: it completed, it counted its tokens, and it says what is expected."""
    facts = Facts()
    facts.same("object", reply.object, "response")
    facts.same("status", reply.status, "completed")
    usage = reply.usage
    counted = usage.input_tokens > 0 and usage.output_tokens > 0
    facts.need("usage", counted and usage.total_tokens == usage.input_tokens + usage.output_tokens, f"usage is {usage}")
    if expect is not None:
        facts.need("reasoning", bool(response_reasoning(reply)), "no reasoning item came back")
    says(facts, response_text(reply), expect)
    return facts.contract(name, "endpoints")


def truncated(reply: Any, limit: int) -> Contract:
    """A Responses reply cut off by `max_output_tokens`: reported as incomplete, with the reason and the count."""
    facts = Facts()
    facts.same("status", reply.status, "incomplete")
    facts.same("reason", getattr(reply.incomplete_details, "reason", None), "max_output_tokens")
    facts.same("output tokens", reply.usage.output_tokens, limit)
    return facts.contract("responses.truncated", "endpoints")


def chat(
    reply: Any,
    finish: str = "stop",
    expect: str | None = None,
    reasoning: bool | None = None,
    name: str = "chat.completions",
) -> Contract:
    """A finished chat completion; `reasoning` says whether the chain of thought must be there, or must not."""
    facts = Facts()
    choice = reply.choices[0]
    facts.same("object", reply.object, "chat.completion")
    facts.same("role", choice.message.role, "assistant")
    facts.same("finish", choice.finish_reason, finish)
    facts.need("usage", reply.usage.prompt_tokens > 0 and reply.usage.completion_tokens > 0, f"usage is {reply.usage}")
    thought = getattr(choice.message, "reasoning", None)  # vLLM's field; `reasoning_content` is gone since 0.15
    if reasoning is True:
        facts.need("reasoning", bool(thought), "the chain of thought is missing")
    elif reasoning is False:
        facts.need("no reasoning", not thought, f"a chain of thought came back: {str(thought)[:80]!r}")
    says(facts, choice.message.content or "", expect)
    return facts.contract(name, "endpoints")


def completion(reply: Any, finish: str = "length", name: str = "completions") -> Contract:
    """A plain completion: text, a finish reason and counted tokens. A full model may stop before the limit."""
    facts = Facts()
    facts.same("object", reply.object, "text_completion")
    facts.same("finish", reply.choices[0].finish_reason, finish, "stop")
    facts.need("text", bool(reply.choices[0].text), "the text is empty")
    facts.need("usage", reply.usage.prompt_tokens > 0 and reply.usage.completion_tokens > 0, f"usage is {reply.usage}")
    return facts.contract(name, "endpoints")


def models(listing: Any, served: str) -> Contract:
    """`/v1/models` names the served model."""
    facts = Facts()
    facts.same("served", next((m.id for m in listing.data if m.id == served), None), served)
    return facts.contract("models", "endpoints")


def efforts(replies: dict[str, Any], growing: bool = False) -> Contract:
    """Chat completions at several reasoning efforts: each answers; with `growing`, higher ones think longer."""
    facts = Facts()
    lengths = {}
    for effort, reply in replies.items():
        facts.need(effort, reply.usage.completion_tokens > 0, "nothing was generated")
        lengths[effort] = len(getattr(reply.choices[0].message, "reasoning", None) or "")
    if growing:
        ordered = list(lengths.values())
        facts.need("thinks longer", ordered == sorted(set(ordered)), f"characters of reasoning: {lengths}")
    return facts.contract("reasoning.effort", "reasoning")


def structured(reply: Any, wanted: dict) -> Contract:
    """A chat completion under a JSON schema: valid JSON with the fields, and the values that the prompt holds.

    A full model may write more around a text ("Paris, France").
    """
    facts, choice = Facts(), reply.choices[0]
    facts.same("finish", choice.finish_reason, "stop")
    facts.need("reasoning", bool(getattr(choice.message, "reasoning", None)), "the model did not think first")
    try:
        found = json.loads(choice.message.content or "")
    except ValueError:
        found = choice.message.content
    facts.need("valid JSON", isinstance(found, dict), f"the content is {str(found)[:120]!r}")
    fits = isinstance(found, dict) and found.keys() == wanted.keys() and holds(found, wanted)
    facts.same("values", json.dumps(wanted if fits else found, sort_keys=True), json.dumps(wanted, sort_keys=True))
    return facts.contract("chat.completions.json_schema", "structured_output")


def ungrouped(text: str) -> str:
    """A text with the separators of thousands taken out of its numbers, as models write them.

    >>> ungrouped("56,088 or 56\u202f088 or 56{,}088, and 1,2"), ungrouped("in 2024, 100 of them")
    ('56088 or 56088 or 56088, and 1,2', 'in 2024, 100 of them')
    """
    return re.sub(r"(?<=\d)(?:\{,\}|[,\u202f\u2009\u00a0 ])(?=\d{3}(?!\d))", "", text)


def holds(found: Any, wanted: Any) -> bool:
    """Whether JSON says what is wanted: mappings may say more, texts may be longer and in other letter case.

    >>> holds({"city": "Paris, France", "unit": "celsius"}, {"city": "paris"})
    True
    >>> holds({"city": "Lyon"}, {"city": "Paris"}), holds({}, {"city": "Paris"}), holds({"age": "30"}, {"age": 30})
    (False, False, False)
    """
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(name in found and holds(found[name], wanted[name]) for name in wanted)
    if isinstance(wanted, str):
        return isinstance(found, str) and wanted.lower() in found.lower()
    return found == wanted
