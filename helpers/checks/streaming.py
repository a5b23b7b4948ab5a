"""Checks of streams: the order of their events, and that the pieces make up the whole."""

from collections.abc import Iterable, Sequence
from typing import Any

from helpers.checks.contract import Contract, Facts
from helpers.checks.endpoints import says


def kinds(events: Iterable[Any]) -> list[str]:
    """The event types in order, repeats folded: what a reader sees of a Responses stream."""
    folded: list[str] = []
    for event in events:
        if not folded or folded[-1] != event.type:
            folded.append(event.type)
    return folded


def responses(events: Sequence[Any], expect: str | None = None) -> Contract:
    """A Responses stream: created first, every item added before it is done, deltas that make up the text, completed last."""
    facts = Facts()
    types = [event.type for event in events]
    facts.same("first", types[0], "response.created")
    facts.same("last", types[-1], "response.completed")
    numbers = [event.sequence_number for event in events]
    facts.need("numbered", numbers == sorted(set(numbers)), "sequence numbers repeat or go back")
    facts.need(
        "items",
        types.count("response.output_item.added") == types.count("response.output_item.done") > 0,
        f"{kinds(events)}",
    )
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    done = "".join(event.text for event in events if event.type == "response.output_text.done")
    facts.need("deltas make the text", deltas == done, f"{deltas[:80]!r} is not {done[:80]!r}")
    facts.need("usage", events[-1].response.usage.output_tokens > 0, "no tokens were counted")
    if expect is not None:
        thought = any(kind == "response.reasoning_text.delta" for kind in types)
        facts.need("reasoning", thought, "no reasoning was streamed")
        says(facts, deltas, expect)
    return facts.contract("responses.stream", "streaming")


def chat(chunks: Sequence[Any], finish: str = "stop", expect: str | None = None) -> Contract:
    """A chat stream with `include_usage`: a role first, one finish reason, the usage in the last chunk."""
    facts = Facts()
    facts.same("first role", chunks[0].choices[0].delta.role, "assistant")
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    facts.same("finish", ",".join(reasons), finish)
    usage = chunks[-1].usage
    facts.need("usage last", usage is not None and usage.completion_tokens > 0, f"usage is {usage}")
    text = "".join(delta.content or "" for delta in deltas)
    thought = "".join(getattr(delta, "reasoning", None) or "" for delta in deltas)
    facts.need("deltas", bool(text or thought), "nothing was streamed")
    if expect is not None:
        facts.need("reasoning", bool(thought), "no reasoning was streamed")
        says(facts, text, expect)
    return facts.contract("chat.completions.stream", "streaming")


def completion(chunks: Sequence[Any], finish: str = "length") -> Contract:
    """A plain completion stream: text in pieces, one finish reason, the usage in the last chunk. A full model may stop
    before the limit."""
    facts = Facts()
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    facts.need("deltas", bool(text), "nothing was streamed")
    facts.same("finish", ",".join(reasons), finish, "stop")
    facts.need("usage last", bool(chunks[-1].usage and chunks[-1].usage.completion_tokens), "no usage came")
    return facts.contract("completions.stream", "streaming")
