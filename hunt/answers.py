"""What is wrong with an answer: an error of the server, one that breaks the API's schema, or a request half ignored."""

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hunt.drawing.draw import LENGTHS, _schema
from hunt.request import expanded
from hunt.send import Outcome

MEDIA = ("image_url", "input_audio", "video_url", "input_image", "image", "input_file", "document")
KINDS = {"kill": 0, "hang": 1, "error": 2, "schema": 3, "silent": 4}  # and how bad it is


@dataclass(frozen=True)
class Finding:
    """One thing that an answer showed."""

    kind: str  # a key of KINDS
    where: str  # method and path
    said: str

    @property
    def key(self) -> str:
        """Equal for what is the same but for its numbers and names."""
        said = re.sub(r"0x[0-9a-f]+|[0-9a-f]{12,}|\d+", "N", self.said)
        return f"{self.kind} {self.where}: {said[:160]}"


def findings(outcome: Outcome, description: str) -> Iterator[Finding]:
    """Everything that is wrong with one outcome, kills aside (the server's state shows those)."""
    request = outcome.request
    where = f"{request.method} {request.path}"
    if outcome.lost.startswith("no answer"):
        yield Finding("hang", where, outcome.lost)
    if outcome.cancelled or not outcome.status:
        return
    if outcome.status >= 500 and outcome.status != 501:
        yield Finding("error", where, f"HTTP {outcome.status}: {outcome.text[:300]}")
    if broken := against_schema(outcome, description):
        yield Finding("schema", where, broken)
    if outcome.status == 200 and isinstance(request.body, dict):
        yield from (Finding("silent", where, said) for said in ignored(expanded(request.body), outcome))


def against_schema(outcome: Outcome, description: str) -> str:
    """How an answer breaks the description of the API, or the client's types of it; '' where it does not."""
    request = outcome.request
    operation = _operation(description, request.path, request.method)
    if operation is None:
        return ""
    declared = operation.definition.raw["responses"]
    if str(outcome.status) not in declared:
        return f"status {outcome.status} is not in the description ({', '.join(sorted(declared))})"
    if outcome.status != 200:
        try:
            operation.validate_response(outcome.response)
        except Exception as error:  # any of schemathesis's failures: their first line is the finding
            return f"HTTP {outcome.status}: {_first(error)}: {outcome.text[:100]}"
        return ""
    return against_types(outcome)


@functools.cache
def _operation(description: str, path: str, method: str) -> Any:
    """The operation of a path in the description; None where it has none."""
    described = json.loads(description)["paths"].get(path, {})
    return _schema(description)[path][method] if method.lower() in described else None


def _first(error: BaseException) -> str:
    """The first message of an error or a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split("Validated against")[0].split())[:300]


@functools.cache
def _type(path: str, stream: bool) -> Any:
    """The OpenAI client's type of an endpoint's whole answer, or of one event of its stream; None where it has none."""
    from openai.types import chat, completion, responses
    from pydantic import TypeAdapter

    types = {
        "/v1/chat/completions": (chat.ChatCompletion, chat.ChatCompletionChunk),
        "/v1/completions": (completion.Completion, None),  # its type forbids the null that every event but the last has
        "/v1/responses": (responses.Response, responses.ResponseStreamEvent),
    }
    wanted = types.get(path, (None, None))[stream]
    return TypeAdapter(wanted) if wanted else None


def against_types(outcome: Outcome) -> str:
    """How a good answer differs from what the OpenAI client's types say; '' where it does not, or is cut off here."""
    stream = outcome.kind == "text/event-stream"
    wanted = _type(outcome.request.path, stream)
    if (wanted is None and not stream) or len(outcome.text) >= 190_000:
        return ""
    try:
        for data in events(outcome.text) if stream else [json.loads(outcome.text)]:
            if stream and "error" in data and "choices" not in data:
                return f"an error in a stream that began with 200: {str(data['error'])[:200]}"
            if wanted:
                wanted.validate_python(data)
    except ValueError as error:  # pydantic's and json's
        lines = str(error).splitlines()
        return f"{'event' if stream else 'answer'}: {' '.join(lines[1:3] or lines)[:300]}"
    return ""


def events(text: str) -> Iterator[dict]:
    """The events of a stream."""
    for line in text.splitlines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def ignored(body: dict, outcome: Outcome) -> Iterator[str]:
    """What a request asked for and an answer with status 200 left out without a word."""
    told = json.dumps(body.get("messages") or body.get("input"))
    if any(f'"type": "{kind}"' in told for kind in MEDIA):
        yield "a part of the prompt that is no text was dropped"
    if outcome.kind != "application/json" or outcome.request.path not in ("/v1/chat/completions", "/v1/completions"):
        return
    answer = json.loads(outcome.text) if len(outcome.text) < 190_000 else {}
    choices = answer.get("choices") or []
    if not isinstance(choices, list):
        return
    prompt = body.get("prompt")
    wanted = (body.get("n") or 1) * (len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1)
    if answer and len(choices) != wanted:
        yield f"{len(choices)} choices instead of {wanted}"
    limits = [body[name] for name in LENGTHS if isinstance(body.get(name), int)]
    used = (answer.get("usage") or {}).get("completion_tokens") or 0
    if limits and used > max(limits) * len(choices):
        yield f"{used} tokens instead of at most {max(limits) * len(choices)}"
    for one in choices:
        yield from ignored_in(body, one)


def ignored_in(body: dict, one: dict) -> Iterator[str]:
    """What one choice of an answer left out."""
    message = one.get("message") or {}
    text = (one.get("text") or "") + (message.get("content") or "")
    if body.get("logprobs") not in (None, False) and one.get("logprobs") is None:
        yield "logprobs were asked for and are null"
    stops = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []
    if (
        any(word and word in text for word in stops)
        and not body.get("include_stop_str_in_output")
        and not body.get("echo")
    ):
        yield "the answer holds a stop string"
    required = body.get("tool_choice") == "required" or isinstance(body.get("tool_choice"), dict)
    if required and one.get("finish_reason") == "stop" and not message.get("tool_calls"):
        yield "a tool call was required and none came"
    strict = (body.get("response_format") or {}).get("type") in ("json_schema", "json_object")
    if (
        strict
        and one.get("finish_reason") == "stop"
        and not stops
        and not body.get("echo")
        and "stop_token_ids" not in body
    ):
        try:
            json.loads(text)
        except ValueError:
            yield "JSON was asked for, and the whole answer is none"
