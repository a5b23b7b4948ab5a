"""Whether a reply is what a case wants: pure functions over the JSON of both endpoints."""

import itertools
import json
import re
from dataclasses import dataclass, field

from nano.domain.sample import Sample


@dataclass
class Reply:
    """What a reply holds, whichever endpoint gave it."""

    reasoning: str = ""
    text: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False
    error: str = ""


def read_chat(body: dict) -> Reply:
    """A chat completion's reply (its first choice)."""
    choice = body["choices"][0]
    message = choice["message"]
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or []]
    ended = choice["finish_reason"] in ("stop", "tool_calls")
    return Reply(message.get("reasoning") or "", message.get("content") or "", calls, ended)


def read_responses(body: dict) -> Reply:
    """A Responses reply; reasoning parts are joined, tool calls of the built-in tools included."""
    reply = Reply(ended=body["status"] == "completed", error=json.dumps(body.get("error")) if body.get("error") else "")
    for item in body["output"]:
        if item["type"] == "reasoning":
            reply.reasoning += "".join(part["text"] for part in item.get("content") or [])
        elif item["type"] == "message":
            reply.text += "".join(part["text"] for part in item["content"] if part["type"] == "output_text")
        elif item["type"] == "function_call":
            reply.calls.append((item["name"], item["arguments"]))
    return reply


def _says(text: str, expected: str) -> bool:
    """Whether the text holds the expected words, not as part of a longer number or word."""
    return re.search(rf"(?<![\w.]){re.escape(expected)}(?![\w]|\.\d)", text) is not None or (
        not expected[:1].isalnum() and expected in text
    )


def problem(sample: Sample, reply: Reply) -> str:
    """What is wrong with a reply, or an empty text."""
    if reply.error:
        return reply.error
    if not reply.ended:
        return "it did not end"
    if not reply.reasoning:
        return "no analysis"
    if sample.call is not None:
        if len(reply.calls) != 1:
            return f"{len(reply.calls)} calls"
        name, arguments = reply.calls[0]
        try:
            given = json.loads(arguments)
        except ValueError:
            return f"arguments are no JSON: {arguments}"
        wanted = (sample.call[0], sample.call[1])
        return "" if (name, given) == wanted else f"called {name} {arguments}, not {wanted[0]} {json.dumps(wanted[1])}"
    if reply.calls:
        return f"called {reply.calls[0][0]}"
    if not reply.text:
        return "no answer"
    if sample.answer is not None:
        try:
            given = json.loads(reply.text)
        except ValueError:
            return f"no JSON: {reply.text}"
        return "" if given == sample.answer else f"{reply.text}, not {json.dumps(sample.answer)}"
    missing = [expected for expected in sample.expect if not _says(reply.text, expected)]
    return f"{reply.text!r} lacks {missing[0]!r}" if missing else ""


def grows(lengths: list[int]) -> bool:
    """Whether analyses get clearly longer: each at least half as long again as the one before."""
    return all(after >= 1.5 * before for before, after in itertools.pairwise(lengths))


def malformed(tokens: list[int]) -> str:
    """What breaks Harmony's form in a completion's tokens, or an empty text: the strict parser of the library judges."""
    from openai_harmony import HarmonyEncodingName, HarmonyError, Role, StreamableParser, load_harmony_encoding

    encoding = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
    if not tokens or tokens[-1] not in encoding.stop_tokens_for_assistant_actions():
        return "no end"
    parser = StreamableParser(encoding, role=Role.ASSISTANT)
    try:
        for token in tokens:
            parser.process(token)
    except HarmonyError as error:
        return str(error)
    last = parser.messages[-1] if parser.messages else None
    if last is None or last.author.role != Role.ASSISTANT:
        return "no message"
    if not all(message.channel in ("analysis", "commentary", "final") for message in parser.messages):
        return "unknown channel"
    if last.channel != "final" and not (last.recipient or "").startswith(("functions.", "python", "browser.")):
        return "no answer"
    return ""
