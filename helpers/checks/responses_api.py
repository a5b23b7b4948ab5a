"""The probes of the Responses API: one function a feature, each asking the server and saying what it saw."""

from helpers.checks.responses_client import PROBES, QUESTION, TIMEOUT_S, ResponsesClient, json_of, probe
from helpers.recipes.responses import Row


class Surface(ResponsesClient):
    """The probes, against one server."""

    def table(self) -> list[Row]:
        """Every probe, in their order."""
        return [ask(self) for ask in PROBES]


def _state(status: int, holds: bool, yes: str, no: str, otherwise: str = "ignored") -> tuple[str, str]:
    """(state, words): refused for an error status, else by what the answer showed."""
    if status >= 400:
        return "refused", f"status {status}"
    return ("supported", yes) if holds else (otherwise, no)


@probe("usage: input, output, cached and reasoning tokens")
def _usage(surface: Surface) -> tuple[str, str]:
    status, reply = surface.post()
    usage = reply.get("usage") or {}
    counted = usage.get("input_tokens", 0) > 0 and "reasoning_tokens" in usage.get("output_tokens_details", {})
    return _state(status, counted, "counted, also by turn", "zeros", "partly")


@probe("annotations on output text")
def _annotations(surface: Surface) -> tuple[str, str]:
    status, reply = surface.post()
    parts = [
        part for item in reply.get("output", []) for part in item.get("content") or [] if item["type"] == "message"
    ]
    return _state(status, any(part.get("annotations") for part in parts), "filled", "the field is there, always empty")


@probe("item ids and indexes in streams")
def _indexes(surface: Surface) -> tuple[str, str]:
    events = surface.stream()
    added = [event for event in events if event["type"] == "response.output_item.added"]
    indexes = [event.get("output_index") for event in added]
    ids = all((event.get("item") or {}).get("id") for event in added)
    numbers = [event.get("sequence_number") for event in events]
    good = ids and indexes == list(range(len(indexes))) and numbers == sorted(numbers)
    return _state(
        200, bool(added) and good, "each item has an id, indexes and sequence numbers rise", "gaps or repeats", "partly"
    )


@probe("tool outputs in streams")
def _tool_outputs(surface: Surface) -> tuple[str, str]:
    events = surface.stream(
        input="What is 123 * 456?",
        tools=[{"type": "code_interpreter", "container": {"type": "auto"}}],
        include=["code_interpreter_call.outputs"],
    )
    calls = [event for event in events if "code_interpreter" in event["type"]]
    shown = any("56088" in str(event.get("outputs") or (event.get("item") or {}).get("outputs")) for event in events)
    if not calls:
        return "partly", "the model called no tool, so nothing was seen"
    return _state(200, shown, "sent", "the call is streamed, its output is not", "partly")


@probe("error events in streams")
def _error_events(surface: Surface) -> tuple[str, str]:
    import httpx

    body = {"model": surface.model, "input": QUESTION, "max_output_tokens": 10_000_000, "stream": True}
    reply = httpx.post(surface.base + "/v1/responses", json=body, headers=surface.headers, timeout=TIMEOUT_S)
    if reply.status_code >= 400:
        return "partly", "a wrong request is an HTTP error, not an event"
    names = ("event: error", "response.failed")
    return _state(200, any(name in reply.text for name in names), "sent by name", "no event names the error", "partly")


@probe("response.incomplete at truncation in streams")
def _incomplete(surface: Surface) -> tuple[str, str]:
    last = surface.stream(max_output_tokens=8)[-1]["type"]
    return _state(200, last == "response.incomplete", "sent", f"the stream ends with {last}", "partly")


@probe("incomplete_details at truncation")
def _truncation(surface: Surface) -> tuple[str, str]:
    status, reply = surface.post(max_output_tokens=8)
    reason = (reply.get("incomplete_details") or {}).get("reason")
    return _state(
        status, reason == "max_output_tokens", "status incomplete, with the reason and the partial output", "missing"
    )


@probe("store and retrieval")
def _store(surface: Surface) -> tuple[str, str]:
    _, reply = surface.post(store=True)
    status, again = surface.get(f"/v1/responses/{reply.get('id')}")
    return _state(status, again.get("id") == reply.get("id"), "retrieved by its id", "another response")


@probe("previous_response_id")
def _previous(surface: Surface) -> tuple[str, str]:
    _, first = surface.post(store=True)
    status, second = surface.post(input="And of Italy?", previous_response_id=first.get("id"))
    longer = (second.get("usage") or {}).get("input_tokens", 0) > (first.get("usage") or {}).get("input_tokens", 0)
    return _state(status, longer, "the earlier turn is in the prompt", "no earlier turn in the prompt")


@probe("background")
def _background(surface: Surface) -> tuple[str, str]:
    status, reply = surface.post(background=True, store=True)
    return _state(
        status,
        reply.get("status") in ("queued", "in_progress"),
        "answered before it is done, with an id",
        "ran in front",
    )


@probe("cancel")
def _cancel(surface: Surface) -> tuple[str, str]:
    import httpx

    _, reply = surface.post(background=True, store=True, max_output_tokens=2000, ignore_eos=True)
    answer = httpx.post(
        f"{surface.base}/v1/responses/{reply.get('id')}/cancel", headers=surface.headers, timeout=TIMEOUT_S
    )
    return _state(
        answer.status_code, json_of(answer).get("status") == "cancelled", "a background response ends", "still running"
    )


@probe("input items of a stored response")
def _input_items(surface: Surface) -> tuple[str, str]:
    _, reply = surface.post(store=True)
    status, _ = surface.get(f"/v1/responses/{reply.get('id')}/input_items")
    return _state(status, True, "listed", "")


@probe("conversation")
def _conversation(surface: Surface) -> tuple[str, str]:
    status, _ = surface.post(conversation="conv_unknown")
    return _state(status, False, "", "an unknown conversation is accepted without a word")


@probe("logprobs on output text")
def _logprobs(surface: Surface) -> tuple[str, str]:
    status, reply = surface.post(include=["message.output_text.logprobs"], top_logprobs=2)
    return _state(status, "'logprobs': [" in str(reply), "sent", "not sent")


@probe("reasoning effort low, medium, high")
def _effort(surface: Surface) -> tuple[str, str]:
    statuses = [surface.post(reasoning={"effort": effort})[0] for effort in ("low", "medium", "high")]
    return _state(max(statuses), True, "accepted", "")


@probe("reasoning effort minimal, none")
def _minimal(surface: Surface) -> tuple[str, str]:
    statuses = [surface.post(reasoning={"effort": effort})[0] for effort in ("minimal", "none")]
    return _state(min(statuses), True, "accepted", "")


@probe("reasoning summary")
def _summary(surface: Surface) -> tuple[str, str]:
    status, reply = surface.post(reasoning={"effort": "low", "summary": "auto"})
    filled = any(item.get("summary") for item in reply.get("output", []) if item["type"] == "reasoning")
    return _state(status, filled, "filled", "always empty; the whole chain of thought is in content")


@probe("include_reasoning false (vLLM's own)")
def _include(surface: Surface) -> tuple[str, str]:
    status, reply = surface.post(include_reasoning=False)
    return _state(
        status,
        not any(item["type"] == "reasoning" for item in reply.get("output", [])),
        "thoughts left out",
        "sent anyway",
    )


@probe("instructions")
def _instructions(surface: Surface) -> tuple[str, str]:
    _, plain = surface.post()
    status, reply = surface.post(instructions="Answer in one sentence, please.")
    longer = (reply.get("usage") or {}).get("input_tokens", 0) > (plain.get("usage") or {}).get("input_tokens", 0)
    return _state(status, longer, "in the prompt", "not in the prompt")


@probe("text.format json_schema")
def _schema(surface: Surface) -> tuple[str, str]:
    import json

    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    status, reply = surface.post(
        text={"format": {"type": "json_schema", "name": "a", "schema": schema, "strict": True}}
    )
    texts = [part["text"] for item in reply.get("output", []) if item["type"] == "message" for part in item["content"]]
    try:
        fits = set(json.loads("".join(texts))) == {"city"}
    except ValueError:
        fits = False
    return _state(status, fits, "the answer fits", "the answer does not fit", "partly")


@probe("tools of type file_search, image_generation")
def _hosted(surface: Surface) -> tuple[str, str]:
    tools = ({"type": "file_search", "vector_store_ids": ["x"]}, {"type": "image_generation"})
    statuses = [surface.post(tools=[tool])[0] for tool in tools]
    return _state(min(statuses), False, "", "accepted without a word; the model never sees them")


@probe("image input")
def _image(surface: Surface) -> tuple[str, str]:
    part = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
    status, _ = surface.post(input=[{"role": "user", "content": [{"type": "input_text", "text": "hi"}, part]}])
    return _state(status, False, "", "accepted, though the image is none: it is not looked at")


@probe("max_tool_calls")
def _max_tool_calls(surface: Surface) -> tuple[str, str]:
    tool = {"type": "code_interpreter", "container": {"type": "auto"}}
    status, reply = surface.post(input="What is 123 * 456?", tools=[tool], max_tool_calls=0)
    details = (reply.get("usage") or {}).get("output_tokens_details", {})
    return _state(status, details.get("tool_output_tokens") == 0, "no call was made", "a tool was called all the same")


@probe("metadata")
def _metadata(surface: Surface) -> tuple[str, str]:
    status, reply = surface.post(metadata={"a": "b"})
    return _state(status, reply.get("metadata") == {"a": "b"}, "echoed", "dropped")


@probe("truncation auto")
def _truncate(surface: Surface) -> tuple[str, str]:
    status, reply = surface.post(truncation="auto", input="word " * 20_000)
    return _state(status, bool(reply.get("output")), "a prompt that is too long is cut", "no output")
