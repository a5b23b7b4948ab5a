"""Answers on their way back: names that were flattened, a call that was cut off, and the header that says what was done."""

import json
from typing import Any

from helpers.instack.compat.requests import Body, Rewrite

HEADER, SHOWN = b"x-compat", 1_000  # characters of the notes in the header


class Returned:
    """One answer as it is sent: passed on as it comes, unless a rule has to read it first."""

    def __init__(self, send: Any, change: Rewrite, body: Body):
        self.out, self.change, self.body = send, change, body
        self.renamed = bool(change.namespaces or change.customs)
        self.kept: list[Body] = []  # the messages of an answer in one piece
        self.half, self.whole = b"", False  # of a streamed event; whether it comes in one piece

    async def send(self, message: Body) -> None:
        """Stands in for ASGI's send."""
        if message["type"] == "http.response.start":
            self.whole = dict(message["headers"]).get(b"content-type", b"").startswith(b"application/json")
            if self.change.notes:
                notes = ", ".join(f"{rule}: {words}" for rule, words in self.change.notes.items())
                plain = "".join(letter if " " <= letter <= "~" else "?" for letter in notes)[:SHOWN]
                message = message | {"headers": [*message["headers"], (HEADER, plain.encode())]}
        elif self.renamed and not self.whole:
            message = self._streamed(message)
        if not self.whole:
            return await self.out(message)
        self.kept.append(message)
        if message["type"] != "http.response.start" and not message.get("more_body"):
            for kept in self._corrected():
                await self.out(kept)

    def _corrected(self) -> list[Body]:
        """The answer in one piece, with what a rule changed in it; as it came where none did."""
        start, *parts = self.kept
        try:
            answer = json.loads(b"".join(part.get("body", b"") for part in parts))
            limit = self.body.get("max_completion_tokens") or self.body.get("max_tokens") or -1
            at_limit = (answer.get("usage") or {}).get("completion_tokens") == limit
            changed = [self._named(item) for item in answer.get("output") or []]
            changed += [_cut_off(choice, at_limit) for choice in answer.get("choices") or []]
        except (ValueError, TypeError, AttributeError, KeyError):
            return self.kept
        if not any(changed):
            return self.kept
        text = json.dumps(answer, separators=(",", ":")).encode()
        return [sized(start, text), {"type": "http.response.body", "body": text}]

    def _named(self, item: Body) -> bool:
        """A call of a flattened tool under the name that the client knows."""
        if item.get("type") != "function_call" or not self.renamed:
            return False
        if item["name"] in self.change.namespaces:
            item["namespace"], item["name"] = self.change.namespaces[item["name"]]
        if item["name"] in self.change.customs:
            arguments = item.pop("arguments", "")
            item |= {"type": "custom_tool_call", "input": json.loads(arguments)["input"] if arguments else ""}
        return True

    def _streamed(self, message: Body) -> Body:
        """Server-sent events, each call under its name; an event is passed on once it is whole."""
        *events, self.half = (self.half + message.get("body", b"")).split(b"\n\n")
        text = b"".join(self._event(event) + b"\n\n" for event in events)
        last, self.half = (b"", self.half) if message.get("more_body") else (self.half, b"")
        return message | {"body": text + last}

    def _event(self, event: bytes) -> bytes:
        head, mark, data = event.partition(b"data: ")
        if b"function_call" not in data:
            return event
        try:
            body = json.loads(data)
            for item in [body.get("item") or {}, *((body.get("response") or {}).get("output") or [])]:
                self._named(item)
        except (ValueError, TypeError, AttributeError, KeyError):
            return event
        if body.get("name") in self.change.namespaces:
            body["name"] = self.change.namespaces[body["name"]][1]
        return head + mark + json.dumps(body, separators=(",", ":")).encode()


def _cut_off(choice: Body, at_limit: bool) -> bool:
    """`length` for a call that the limit ended: no stop token, and the limit reached or arguments without an end."""
    if choice.get("finish_reason") != "tool_calls" or choice.get("stop_reason") is not None:
        return False
    arguments = [call["function"]["arguments"].rstrip() for call in choice["message"]["tool_calls"]]
    if at_limit or not all(text.endswith("}") for text in arguments):
        choice["finish_reason"] = "length"
    return choice["finish_reason"] == "length"


def sized(message: Body, text: bytes) -> Body:
    """A scope or the start of an answer with the length of its new body."""
    kept = [pair for pair in message["headers"] if pair[0] != b"content-length"]
    return message | {"headers": [*kept, (b"content-length", str(len(text)).encode())]}
