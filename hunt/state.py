"""Whether a server is as it was: it lives, answers a known question as before, holds no request and not much more memory."""

import re
import time
from dataclasses import dataclass, field

import httpx

from helpers.errors import CookbookError
from helpers.keys import authorised
from hunt.served import Given

QUESTION = {"messages": [{"role": "user", "content": "What is 2 + 2?"}], "temperature": 0, "max_tokens": 24}
LEFT_S = 60.0  # a request that was left is ended by then
SETTLED = 10  # batches until every part of the server has been used once
GROWTH_GIB = (
    2.0  # what caches, and allocators after a long prompt, may keep; a leak in each request shows within 10,000
)
WARMING = (
    {"logprobs": True, "top_logprobs": 5},
    {"response_format": {"type": "json_object"}},
)  # compiled at their first use
GAUGES = re.compile(r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} ([\d.e+]+)$", re.MULTILINE)


@dataclass
class State:
    """What the server was like at first, and how it is now."""

    served: Given
    model: str
    random: bool = False  # the weights are: the server must answer, what it answers says nothing
    answer: str = ""
    memory_gib: list[float] = field(default_factory=list)  # after each batch

    def begin(self) -> "State":
        """Warm the server up, then ask the known question twice: an answer that is not the same again is not held against it."""
        try:
            for extra in WARMING:
                self.asked(extra)
            first, second = self.asked(), self.asked()
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise CookbookError(
                f"{self.served.base_url} does not answer a question to {self.model}",
                why=" ".join(str(error).split("\n")[0].split()),
                do="pass the name that it serves with --model, and its key in VLLM_API_KEY",
            ) from None
        self.answer = first if first == second and not self.random else ""
        return self

    def asked(self, extra: dict | None = None) -> str:
        """The answer to the known question; raises `httpx.HTTPError` or `ValueError` where there is none."""
        body = QUESTION | {"model": self.model} | (extra or {})
        reply = httpx.post(f"{self.served.base_url}/v1/chat/completions", json=body, headers=authorised(), timeout=180)
        reply.raise_for_status()
        message = reply.json()["choices"][0]["message"]
        if not reply.json()["usage"]["completion_tokens"]:
            raise ValueError("no token at all")
        return f"{message.get('reasoning') or ''}|{message.get('content') or ''}"

    def left(self) -> int:
        """Requests still in the engine, once those that were left have had `LEFT_S` to end."""
        deadline = time.monotonic() + LEFT_S
        while True:
            text = httpx.get(f"{self.served.base_url}/metrics", timeout=60).text
            count = int(sum(map(float, GAUGES.findall(text))))
            if not count or time.monotonic() > deadline:
                return count
            time.sleep(0.2)

    def fault(self) -> str:
        """What is wrong with the server now; '' where nothing is. "kill: ..." where it is gone."""
        if not self.served.alive():
            return f"kill: {self.served.said()}"
        try:
            if left := self.left():
                return f"hang: {left} requests are left in the engine {LEFT_S:.0f} s after the last one"
            answer = self.asked()
        except (httpx.HTTPError, ValueError, KeyError) as error:
            return f"kill: {self.served.said()}" if not self.served.alive() else f"ill: {type(error).__name__}: {error}"
        if self.answer and answer != self.answer:
            return f"ill: the known question is answered {answer!r} instead of {self.answer!r}"
        self.memory_gib.append(round(self.served.memory_gib(), 3))
        first, last = self.memory_gib[:SETTLED][-1], self.memory_gib[-1]
        if len(self.memory_gib) > SETTLED and last > first + GROWTH_GIB:
            return f"leak: {last:.2f} GiB after {len(self.memory_gib)} batches, {first:.2f} after {SETTLED}"
        return ""
