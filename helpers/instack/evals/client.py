"""The client that the reference's samplers get: it counts, gives up, and never turns a failure into an answer."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import openai

from helpers import redact

ATTEMPTS = 4  # of one request; 1 + 2 + 4 seconds between them
RETRIED = (408, 409, 429, 500, 502, 503, 504)
TRANSPORT = ("bad_request", "http_error", "connection", "timeout")  # states of a sample that never got its answer


class GiveUp(BaseException):
    """The sample has failed. Not an `Exception`: the reference retries on every one of those, without end."""

    def __init__(self, state: str, cause: str):
        super().__init__(cause)
        self.state, self.cause = state, cause


@dataclass
class SampleCall:
    """What one sample's request came to."""

    state: str = "ok"
    cause: str = ""
    text: str = ""
    retries: int = 0
    causes: list[str] = field(default_factory=list)  # of the retries
    input_tokens: int = 0
    output_tokens: int = 0


class SampleClient:
    """Has the two methods that the reference's samplers call; `call` of each thread tells what happened."""

    def __init__(self, base_url: str, api_key: str, timeout_s: float, connections: int, stopped: threading.Event):
        # A connection per request: one that is kept may be closed by the server just as it is used again, and
        # that would count as a failure of a server that has none.
        limits = httpx.Limits(max_connections=connections + 8, max_keepalive_connections=0)
        self.timeout_s, self.stopped, self._local = timeout_s, stopped, threading.local()
        timeout = httpx.Timeout(timeout_s, connect=10)
        # Any: the evaluations' stack and the workbench hold clients of two kinds, and this runs in the stack.
        settings: dict[str, Any] = {"timeout": timeout, "http_client": httpx.Client(limits=limits, timeout=timeout)}
        real = openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0, **settings)
        self.responses = SimpleNamespace(create=self._asking(real.responses.create, read_response))
        chat = SimpleNamespace(create=self._asking(real.chat.completions.create, read_chat))
        self.chat = SimpleNamespace(completions=chat)

    @property
    def call(self) -> SampleCall:
        return self._local.call

    def begin(self) -> SampleCall:
        """A new sample in this thread."""
        self._local.call = SampleCall()
        return self._local.call

    def _asking(self, create: Callable, read: Callable) -> Callable:
        def ask(**request: Any) -> Any:
            reply = self._patiently(create, request)
            call = self.call
            call.text, finish, usage = read(reply)
            if usage:
                call.input_tokens = getattr(usage, "input_tokens", None) or getattr(usage, "prompt_tokens", 0) or 0
                output = getattr(usage, "output_tokens", None) or getattr(usage, "completion_tokens", 0)
                call.output_tokens = output or 0
            if finish:
                call.state, call.cause = "truncated", f"cut off: {finish}"
            if not call.text.strip():
                raise GiveUp(call.state if finish else "empty", call.cause or "the answer is empty")
            return reply

        return ask

    def _patiently(self, create: Callable, request: dict) -> Any:
        """The reply, after at most `ATTEMPTS` tries; raises `GiveUp` with the cause of the last."""
        for attempt in range(ATTEMPTS):
            if self.stopped.is_set():
                raise GiveUp("stopped", "the run was ended")
            try:
                return create(**request)
            except openai.BadRequestError as error:
                raise GiveUp("bad_request", error_line(error)) from None
            except openai.APIStatusError as error:
                state, cause = "http_error", error_line(error)
                if error.status_code not in RETRIED:
                    raise GiveUp(state, cause) from None
            except openai.APITimeoutError:
                state, cause = "timeout", f"no answer within {self.timeout_s:.0f} s"
            except openai.APIConnectionError as error:
                state, cause = "connection", str(error.__cause__ or error)[:200]
            except Exception as error:  # a reply that is no JSON, or of another shape
                state, cause = "http_error", f"unreadable reply: {type(error).__name__}: {error}"[:200]
            if attempt + 1 < ATTEMPTS:
                self.call.retries += 1
                self.call.causes.append(f"{state}: {cause}")
                self.stopped.wait(2**attempt)
        raise GiveUp(state, cause)


def error_line(error: openai.APIStatusError) -> str:
    """Status and message of an error reply in one line."""
    body = error.body if isinstance(error.body, dict) else {}
    text = body.get("message") or (body.get("error") or {}).get("message") if isinstance(body, dict) else ""
    said = " ".join(str(text or error.message).split())
    return f"HTTP {error.status_code}: {redact.text(said)}"[:300]  # servers repeat a key that they refuse


def read_response(reply: Any) -> tuple[str, str, Any]:
    """Text, why it was cut off ('' where it was not) and usage of a Responses reply."""
    if reply.status != "completed":
        why = getattr(reply.incomplete_details, "reason", None) or reply.status
        return reply.output_text or "", str(why), reply.usage
    return reply.output_text or "", "", reply.usage


def read_chat(reply: Any) -> tuple[str, str, Any]:
    """The same of a chat completion."""
    choice = reply.choices[0]
    return choice.message.content or "", "length" if choice.finish_reason == "length" else "", reply.usage
