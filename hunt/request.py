"""A request as it is kept: small enough to read, and sent as what it stands for."""

import json
from dataclasses import dataclass
from typing import Any

REPEAT, BYTES = "$repeat", "$bytes"


@dataclass(frozen=True)
class Request:
    """One request. In `body`, `{"$repeat": [x, n]}` stands for n times x (text, or the items of a list) and
    `{"$bytes": "ff00"}` as the whole body for bytes that are no JSON; None sends no body."""

    path: str
    body: Any = None
    method: str = "POST"

    def content(self) -> bytes | None:
        """The bytes that go over the wire. NaN and infinities are written as Python writes them."""
        if self.body is None:
            return None
        if isinstance(self.body, dict) and set(self.body) == {BYTES}:
            return bytes.fromhex(self.body[BYTES])
        return json.dumps(expanded(self.body)).encode()

    def field(self, name: str) -> Any:
        """A field of the body; None where it has none."""
        return self.body.get(name) if isinstance(self.body, dict) else None

    def line(self) -> str:
        """The request on one line, as it is kept."""
        return json.dumps({"method": self.method, "path": self.path, "body": self.body})

    @classmethod
    def of(cls, line: str) -> "Request":
        """The request of a line."""
        return cls(**json.loads(line))


def repeat(what: str | list, times: int) -> dict:
    """The short form of `what` over and over."""
    return {REPEAT: [what, times]}


def expanded(body: Any) -> Any:
    """A body with every short form written out.

    >>> expanded({"prompt": {"$repeat": ["ab", 2]}, "ids": {"$repeat": [[7], 3]}})
    {'prompt': 'abab', 'ids': [7, 7, 7]}
    """
    if isinstance(body, dict):
        if set(body) == {REPEAT}:
            what, times = body[REPEAT]
            return expanded(what) * times
        return {name: expanded(value) for name, value in body.items()}
    return [expanded(value) for value in body] if isinstance(body, list) else body


def plain(value: Any) -> Any:
    """A drawn body as data that JSON holds: bytes in their short form, keys as text."""
    if isinstance(value, bytes):
        return {BYTES: value.hex()}
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)
