"""What vLLM does with each part of the Responses API, found by asking it: supported, partly, ignored or refused.

The result is a table for readers and for the seed page; every row comes from a request made just now. Requests are plain
HTTP, so that no SDK hides anything.
"""

import json
from collections.abc import Callable
from typing import Any

from maintain.clients.support import Row

QUESTION = "What is the capital of France?"
TIMEOUT_S = 120.0
PYTHON = {"type": "code_interpreter", "container": {"type": "auto"}}
PRODUCT = "What is 123 * 456?"
HOSTED = ({"type": "file_search", "vector_store_ids": ["x"]}, {"type": "image_generation"})
NO_IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
CITY_FORMAT = {"format": {"type": "json_schema", "name": "a", "schema": CITY, "strict": True}}


class Surface:
    """The Responses API of one server, and the probes against it."""

    def __init__(self, base_url: str, model: str, key: str = ""):
        self.base, self.model = base_url, model
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.defaults = {"model": model, "input": QUESTION, "max_output_tokens": 200, "temperature": 0}

    def table(self) -> list[Row]:
        """Every probe, in their order."""
        return [Row(feature, *ask(self)) for feature, ask in PROBES.items()]

    def send(self, method: str, path: str, body: dict | None = None) -> tuple[int, dict]:
        """(status, JSON) of a request."""
        import httpx

        reply = httpx.request(method, self.base + path, json=body, headers=self.headers, timeout=TIMEOUT_S)
        try:
            return reply.status_code, reply.json()
        except ValueError:
            return reply.status_code, {}

    def post(self, **body: Any) -> tuple[int, dict]:
        """(status, JSON) of a response; the model, a small budget and temperature 0 unless given."""
        return self.send("POST", "/v1/responses", self.defaults | body)

    def stored(self, path: str = "", **body: Any) -> tuple[str, int, dict]:
        """The id of a response that is stored, then (status, JSON) of a GET below it."""
        name = self.post(store=True, **body)[1].get("id")
        return name, *self.send("GET", f"/v1/responses/{name}{path}")

    def stream(self, **body: Any) -> list[dict]:
        """The events of a streamed response."""
        import httpx

        whole = self.defaults | {"stream": True} | body
        url = self.base + "/v1/responses"
        with httpx.stream("POST", url, json=whole, headers=self.headers, timeout=TIMEOUT_S) as reply:
            lines = [line[6:] for line in reply.iter_lines() if line.startswith("data: ") and line != "data: [DONE]"]
        return [json.loads(line) for line in lines]


Seen = tuple[str, str]  # (state, words)
Ask = Callable[[Surface], Seen]


def _state(status: int, holds: bool, yes: str, no: str, otherwise: str = "ignored") -> Seen:
    """Refused for an error status, else by what the answer showed."""
    if status >= 400:
        return "refused", f"status {status}"
    return ("supported", yes) if holds else (otherwise, no)


def _asked(holds: Callable[[dict], bool], yes: str, no: str, otherwise: str = "ignored", **body: Any) -> Ask:
    """A probe of one request, judged by its reply."""

    def ask(surface: Surface) -> Seen:
        status, reply = surface.post(**body)
        return _state(status, holds(reply), yes, no, otherwise)

    return ask


def _refused(no: str, **body: Any) -> Ask:
    """A probe of a request that should be refused."""
    return _asked(lambda reply: False, "", no, **body)


def _efforts(worst: Callable, *efforts: str) -> Ask:
    return lambda surface: _state(
        worst(surface.post(reasoning={"effort": e})[0] for e in efforts), True, "accepted", ""
    )


def _usage(reply: dict) -> dict:
    return reply.get("usage") or {}


def _details(reply: dict) -> dict:
    return _usage(reply).get("output_tokens_details", {})


def _items(reply: dict, kind: str) -> list[dict]:
    return [item for item in reply.get("output", []) if item["type"] == kind]


def _parts(reply: dict) -> list[dict]:
    return [part for item in _items(reply, "message") for part in item.get("content") or []]


def _is_city(reply: dict) -> bool:
    try:
        return set(json.loads("".join(part["text"] for part in _parts(reply)))) == {"city"}
    except ValueError:
        return False


def _indexes(surface: Surface) -> Seen:
    events = surface.stream()
    added = [event for event in events if event["type"] == "response.output_item.added"]
    indexes = [event.get("output_index") for event in added]
    ids = all((event.get("item") or {}).get("id") for event in added)
    numbers = [event.get("sequence_number") for event in events]
    good = bool(added) and ids and indexes == list(range(len(indexes))) and numbers == sorted(numbers)
    return _state(200, good, "each item has an id, indexes and sequence numbers rise", "gaps or repeats", "partly")


def _tool_outputs(surface: Surface) -> Seen:
    events = surface.stream(input=PRODUCT, tools=[PYTHON], include=["code_interpreter_call.outputs"])
    if not any("code_interpreter" in event["type"] for event in events):
        return "partly", "the model called no tool, so nothing was seen"
    shown = any("56088" in str(event.get("outputs") or (event.get("item") or {}).get("outputs")) for event in events)
    return _state(200, shown, "sent", "the call is streamed, its output is not", "partly")


def _error_events(surface: Surface) -> Seen:
    import httpx

    body = {"model": surface.model, "input": QUESTION, "max_output_tokens": 10_000_000, "stream": True}
    reply = httpx.post(surface.base + "/v1/responses", json=body, headers=surface.headers, timeout=TIMEOUT_S)
    if reply.status_code >= 400:
        return "partly", "a wrong request is an HTTP error, not an event"
    named = any(name in reply.text for name in ("event: error", "response.failed"))
    return _state(200, named, "sent by name", "no event names the error", "partly")


def _incomplete(surface: Surface) -> Seen:
    last = surface.stream(max_output_tokens=8)[-1]["type"]
    return _state(200, last == "response.incomplete", "sent", f"the stream ends with {last}", "partly")


def _store(surface: Surface) -> Seen:
    name, status, again = surface.stored()
    return _state(status, again.get("id") == name, "retrieved by its id", "another response")


def _previous(surface: Surface) -> Seen:
    _, first = surface.post(store=True)
    status, second = surface.post(input="And of Italy?", previous_response_id=first.get("id"))
    longer = _usage(second).get("input_tokens", 0) > _usage(first).get("input_tokens", 0)
    return _state(status, longer, "the earlier turn is in the prompt", "no earlier turn in the prompt")


def _cancel(surface: Surface) -> Seen:
    _, reply = surface.post(background=True, store=True, max_output_tokens=2000, ignore_eos=True)
    status, ended = surface.send("POST", f"/v1/responses/{reply.get('id')}/cancel")
    return _state(status, ended.get("status") == "cancelled", "a background response ends", "still running")


def _instructions(surface: Surface) -> Seen:
    _, plain = surface.post()
    status, reply = surface.post(instructions="Answer in one sentence, please.")
    longer = _usage(reply).get("input_tokens", 0) > _usage(plain).get("input_tokens", 0)
    return _state(status, longer, "in the prompt", "not in the prompt")


def _hosted(surface: Surface) -> Seen:
    status = min(surface.post(tools=[tool])[0] for tool in HOSTED)
    return _state(status, False, "", "accepted without a word; the model never sees them")


PROBES: dict[str, Ask] = {
    "usage: input, output, cached and reasoning tokens": _asked(
        lambda reply: _usage(reply).get("input_tokens", 0) > 0 and "reasoning_tokens" in _details(reply),
        "counted, also by turn",
        "zeros",
        "partly",
    ),
    "annotations on output text": _asked(
        lambda reply: any(part.get("annotations") for part in _parts(reply)),
        "filled",
        "the field is there, always empty",
    ),
    "item ids and indexes in streams": _indexes,
    "tool outputs in streams": _tool_outputs,
    "error events in streams": _error_events,
    "response.incomplete at truncation in streams": _incomplete,
    "incomplete_details at truncation": _asked(
        lambda reply: (reply.get("incomplete_details") or {}).get("reason") == "max_output_tokens",
        "status incomplete, with the reason and the partial output",
        "missing",
        max_output_tokens=8,
    ),
    "store and retrieval": _store,
    "previous_response_id": _previous,
    "background": _asked(
        lambda reply: reply.get("status") in ("queued", "in_progress"),
        "answered before it is done, with an id",
        "ran in front",
        background=True,
        store=True,
    ),
    "cancel": _cancel,
    "input items of a stored response": lambda surface: _state(surface.stored("/input_items")[1], True, "listed", ""),
    "conversation": _refused("an unknown conversation is accepted without a word", conversation="conv_unknown"),
    "logprobs on output text": _asked(
        lambda reply: "'logprobs': [" in str(reply),
        "sent",
        "not sent",
        include=["message.output_text.logprobs"],
        top_logprobs=2,
    ),
    "reasoning effort low, medium, high": _efforts(max, "low", "medium", "high"),
    "reasoning effort minimal, none": _efforts(min, "minimal", "none"),
    "reasoning summary": _asked(
        lambda reply: any(item.get("summary") for item in _items(reply, "reasoning")),
        "filled",
        "always empty; the whole chain of thought is in content",
        reasoning={"effort": "low", "summary": "auto"},
    ),
    "include_reasoning false (vLLM's own)": _asked(
        lambda reply: not _items(reply, "reasoning"), "thoughts left out", "sent anyway", include_reasoning=False
    ),
    "instructions": _instructions,
    "text.format json_schema": _asked(
        _is_city, "the answer fits", "the answer does not fit", "partly", text=CITY_FORMAT
    ),
    "tools of type file_search, image_generation": _hosted,
    "image input": _refused(
        "accepted, though the image is none: it is not looked at",
        input=[{"role": "user", "content": [{"type": "input_text", "text": "hi"}, NO_IMAGE]}],
    ),
    "max_tool_calls": _asked(
        lambda reply: _details(reply).get("tool_output_tokens") == 0,
        "no call was made",
        "a tool was called all the same",
        input=PRODUCT,
        tools=[PYTHON],
        max_tool_calls=0,
    ),
    "metadata": _asked(lambda reply: reply.get("metadata") == {"a": "b"}, "echoed", "dropped", metadata={"a": "b"}),
    "truncation auto": _asked(
        lambda reply: bool(reply.get("output")),
        "a prompt that is too long is cut",
        "no output",
        truncation="auto",
        input="word " * 20_000,
    ),
}
