"""What vLLM does with each part of the Responses API, found by asking it: supported, ignored or refused.

The result is a table for readers and for the seed page; every row comes from a request made just now.
"""

from collections.abc import Callable
from typing import Any

from helpers.recipes.responses import Row

QUESTION = "What is the capital of France?"
TIMEOUT_S = 120.0


class ResponsesClient:
    """Requests to one server. `post`, `get` and `stream` are plain HTTP, so that no SDK hides anything."""

    def __init__(self, base_url: str, model: str, key: str = ""):
        self.base, self.model = base_url, model
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def post(self, path: str = "/v1/responses", **body: Any) -> tuple[int, dict]:
        """(status, JSON) of a request; the model, a small budget and temperature 0 unless given."""
        import httpx

        whole = {"model": self.model, "input": QUESTION, "max_output_tokens": 200, "temperature": 0} | body
        reply = httpx.post(self.base + path, json=whole, headers=self.headers, timeout=TIMEOUT_S)
        return reply.status_code, json_of(reply)

    def get(self, path: str) -> tuple[int, dict]:
        """(status, JSON) of a GET."""
        import httpx

        reply = httpx.get(self.base + path, headers=self.headers, timeout=TIMEOUT_S)
        return reply.status_code, json_of(reply)

    def stream(self, **body: Any) -> list[dict]:
        """The events of a streamed response."""
        import json

        import httpx

        whole = {
            "model": self.model,
            "input": QUESTION,
            "max_output_tokens": 200,
            "temperature": 0,
            "stream": True,
        } | body
        events = []
        with httpx.stream(
            "POST", self.base + "/v1/responses", json=whole, headers=self.headers, timeout=TIMEOUT_S
        ) as reply:
            for line in reply.iter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    events.append(json.loads(line[6:]))
        return events


def json_of(reply: Any) -> dict:
    try:
        return reply.json()
    except ValueError:
        return {}


PROBES: list[Callable[[ResponsesClient], Row]] = []
FEATURES: list[str] = []  # of the probes, in their order


def probe(feature: str) -> Callable:
    """Register a probe: a function of the surface that returns (state, what was seen)."""

    def register(function: Callable[[ResponsesClient], tuple[str, str]]) -> Callable:
        FEATURES.append(feature)
        PROBES.append(lambda surface: Row(feature, *function(surface)))
        return function

    return register
