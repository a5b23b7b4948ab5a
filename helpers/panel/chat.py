"""One question to the served model over the Responses API: streamed, its functions called, its pace measured; no widgets."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from inspect import getsource
from typing import Any

from helpers.errors import CookbookError
from helpers.tools.functions import MAX_ROUNDS, Toolbox
from helpers.tools.trace import Trace

UNSENT = {"output_index", "sequence_number"}  # what a streamed item has besides what a request may hold
BUILTIN = {  # the tools that the server runs itself, as a request asks for them
    "python": {"type": "code_interpreter", "container": {"type": "auto"}},
    "browser": {"type": "web_search_preview"},
}


@dataclass(frozen=True)
class Asked:
    """What every question of a conversation carries."""

    model: str
    effort: str = "medium"
    system: str = ""
    toolbox: Toolbox | None = None
    builtin: tuple[str, ...] = ()  # keys of BUILTIN
    max_output_tokens: int = 4096
    temperature: float | None = None  # None: the server's

    def request(self) -> dict[str, Any]:
        """The keywords of `client.responses.create`, without the input."""
        tools = [*(self.toolbox.response_schemas() if self.toolbox else []), *(BUILTIN[name] for name in self.builtin)]
        asked = {"model": self.model, "reasoning": {"effort": self.effort}, "max_output_tokens": self.max_output_tokens}
        asked |= {"instructions": self.system} if self.system else {}
        asked |= {"temperature": self.temperature} if self.temperature is not None else {}
        return asked | ({"tools": tools} if tools else {})


@dataclass
class Stretch:
    """A stretch of an answer: `kind` is reasoning, text or call; a call has its tool, arguments and result."""

    kind: str
    text: str = ""  # of a call its arguments
    tool: str = ""
    result: str | None = None


@dataclass
class Answer:
    """One answer as far as it has come."""

    steps: list[Stretch] = field(default_factory=list)
    tokens: int = 0  # output tokens that the server counted
    ttft_s: float | None = None
    generating_s: float = 0.0  # from the first token to the last of every round, tool calls left out
    state: str = "streaming"  # streaming, done, stopped, or why the server ended it

    @property
    def text(self) -> str:
        """What the user is told."""
        return "".join(step.text for step in self.steps if step.kind == "text")

    @property
    def pace(self) -> str:
        """How it ended, TTFT, output tokens per second after the first one, tokens."""
        told = [{"streaming": "…", "done": ""}.get(self.state, self.state)]
        told += [f"TTFT {1e3 * self.ttft_s:,.0f} ms"] if self.ttft_s is not None else []
        if self.tokens > 1 and self.generating_s > 0:
            told.append(f"{(self.tokens - 1) / self.generating_s:,.1f} tok/s")
        return " · ".join(filter(None, [*told, f"{self.tokens} tokens" if self.tokens else ""]))

    def take(self, event: Any, made: list[Any]) -> bool:
        """Take in one event of the stream, what has to be sent back into `made`; whether it brought something to show."""
        item: Any = getattr(event, "item", None)
        if event.type in ("response.reasoning_text.delta", "response.output_text.delta"):
            kind = "text" if "output" in event.type else "reasoning"
            if not self.steps or self.steps[-1].kind != kind:
                self.steps.append(Stretch(kind))
            self.steps[-1].text += event.delta
        elif event.type == "response.output_item.done" and item.type in ("reasoning", "function_call"):
            made.append(item)
        elif event.type == "response.output_item.done" and item.type in ("code_interpreter_call", "mcp_call"):
            python = item.type == "code_interpreter_call"
            self.steps.append(
                Stretch("call", item.code if python else item.arguments, "python" if python else item.name)
            )
        elif event.type in ("response.completed", "response.incomplete", "response.failed"):
            self.finish(event.response)
        return event.type.endswith((".delta", "output_item.done"))

    def finish(self, response: Any) -> None:
        """Counts, the reason for an early end, and what the built-in tools returned, from the response as a whole."""
        self.tokens += response.usage.output_tokens if response.usage else 0
        if response.status != "completed":
            details = response.incomplete_details or response.error
            self.state = f"{response.status}: {getattr(details, 'reason', None) or getattr(details, 'message', '')}"
        if getattr(response, "output_messages", None):
            found = Trace.of(response).steps
            ran = [step for step in self.steps if step.kind == "call" and step.result is None]
            calls, results = ([step for step in found if step.kind == kind] for kind in ("call", "result"))
            for step, call, result in zip(ran, calls, results, strict=False):
                step.tool, step.result = call.tool, result.text


def ask(client: Any, asked: Asked, history: Sequence[dict[str, str]], stop: threading.Event) -> Iterator[Answer]:
    """Answer the last message of `history` (roles and contents); the same `Answer` after every event, growing.

    `stop` ends it between two events. Raises what the SDK raises, CookbookError after `MAX_ROUNDS` rounds of calls.
    """
    answer, items, began = Answer(), [dict(message) for message in history], time.monotonic()
    raw = {"enable_response_messages": True} if asked.builtin else {}
    for _ in range(MAX_ROUNDS):
        made: list[Any] = []  # reasoning is sent back too: the model goes on from it
        first: float | None = None
        with client.responses.create(input=items, stream=True, extra_body=raw, **asked.request()) as stream:
            for event in stream:
                if stop.is_set():
                    answer.state = "stopped"
                    yield answer
                    return
                if answer.take(event, made):
                    first = first or time.monotonic()
                    answer.ttft_s = answer.ttft_s or first - began
                    yield answer
        answer.generating_s += time.monotonic() - first if first else 0.0
        calls = [item for item in made if item.type == "function_call"]
        if not calls:
            answer.state = "done" if answer.state == "streaming" else answer.state
            yield answer
            return
        items += [item.model_dump(exclude_none=True, exclude=UNSENT) for item in made]
        for call in calls:
            result = asked.toolbox.call(call.name, call.arguments) if asked.toolbox else "Error: there are no tools."
            answer.steps.append(Stretch("call", call.arguments, call.name, result))
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})
            yield answer
    raise CookbookError(f"the model called functions {MAX_ROUNDS} times without answering", do="ask in another way")


def code(asked: Asked, base_url: str, question: str) -> str:
    """A cell of OpenAI SDK code that asks the same question of the same server, functions and all."""
    from helpers.panel.look import TEMPLATES

    request = {name: repr(value) for name, value in asked.request().items() if name != "model"}
    functions = list(asked.toolbox.functions.values()) if asked.toolbox else []
    if functions:
        request.pop("tools")  # they follow from the functions
    return TEMPLATES.get_template("code.py.jinja").render(
        functions=[getsource(function).rstrip() for function in functions],
        names=[function.__name__ for function in functions],
        base_url=base_url,
        model=repr(asked.model),
        question=repr(question),
        request=request,
    )
