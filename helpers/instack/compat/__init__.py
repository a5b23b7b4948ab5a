"""ASGI middleware for vLLM: requests that public clients send and gpt-oss on vLLM refuses, in the form that it takes.

PYTHONPATH=. vllm serve openai/gpt-oss-20b ... --middleware helpers.instack.compat.Compatibility

A request that no rule concerns passes as the same bytes, and so does its answer. The answer of a changed one says so in
its header `x-compat`; with the request header `x-compat: off` nothing is changed. What would end the server is refused.
"""

import json
from typing import Any

from helpers.instack.compat.answers import HEADER, Returned, sized
from helpers.instack.compat.refusals import deadly
from helpers.instack.compat.requests import (
    CHAT,
    COMPLETIONS,
    MESSAGES,
    RESPONSES,
    Body,
    Rewrite,
    apply,
    continued,
    referenced,
)

MARKS = b'"tools" _call "image "input_ "output_text" "text" "file" "document" "item_reference" effort" null "thinking"'.split()
MARKS.append(b'"previous_response_id"')
ODD = (ValueError, TypeError, AttributeError, LookupError, RecursionError)  # of a body that no rule expects


class Compatibility:
    """The application behind the rules."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers") or ())
        asked = str(scope.get("path")).removesuffix("/render")
        path = next((end for end in (CHAT, RESPONSES, MESSAGES, COMPLETIONS) if asked.endswith(end)), "")
        off = headers.get(HEADER) == b"off" or headers.get(b"content-encoding", b"identity") != b"identity"
        if scope["type"] != "http" or scope.get("method") != "POST":
            return await self.app(scope, receive, send)
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        text = b"".join(message.get("body", b"") for message in messages)
        state = getattr(scope.get("app"), "state", None)
        taken = b"" if off or path in ("", COMPLETIONS) else text
        body, change = changed(taken, path, getattr(state, "openai_serving_responses", None))
        if change.notes:
            text = json.dumps(body).encode()
            messages = [{"type": "http.request", "body": text, "more_body": False}]
            scope = sized(scope, text)
        if why := change.refused or deadly(text, path or asked):
            return await _refuse(why, send)

        async def again() -> Body:
            return messages.pop(0) if messages else await receive()

        if change.notes or (path == CHAT and body and body.get("tools") and not body.get("stream")):
            send = Returned(send, change, body or {}).send
        await self.app(scope, again, send)


def changed(text: bytes, path: str, serving: Any = None) -> tuple[Body | None, Rewrite]:
    """A request's body and what the rules did; an odd one stays. `serving`: vLLM's handler, which holds its store."""
    try:
        if any(mark in text for mark in MARKS):
            body, change = json.loads(text), Rewrite()
            if path == RESPONSES and serving:
                referenced(body, serving, change)
            apply(path, body, change)
            if path == RESPONSES and serving:
                continued(body, serving, change)
            return body, change
    except ODD:
        pass
    return None, Rewrite()


async def _refuse(why: str, send: Any) -> None:
    """A 400 in the form of vLLM's own."""
    text = json.dumps({"error": {"message": why, "type": "BadRequestError", "param": None, "code": 400}}).encode()
    headers = [(b"content-type", b"application/json"), (HEADER, b"refused")]
    await send(sized({"type": "http.response.start", "status": 400, "headers": headers}, text))
    await send({"type": "http.response.body", "body": text})
