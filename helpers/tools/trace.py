"""What a model thought, called, saw and said, step by step: readable text, and HTML in a notebook."""

import html
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from helpers.tools.text import shorten

MAX_CHARS = 1_500
LABELS = {
    "user": "user",
    "system": "system",
    "developer": "developer",
    "analysis": "thinks",
    "call": "calls",
    "result": "gets",
    "commentary": "says aside",
    "final": "answers",
}
_TEXT = "margin:0;white-space:pre-wrap;background:none;color:inherit"
# A mark beside the text, which keeps the colour of the theme: it is read on light and on dark.
_MARKS = {
    "call": ";border-left:3px solid #0072b2;padding-left:6px",
    "result": ";border-left:3px solid #009e73;padding-left:6px",
    "analysis": ";opacity:0.8",
    "commentary": ";opacity:0.8",
}


@dataclass(frozen=True)
class Step:
    """One step: its kind (a key of LABELS), the tool it belongs to if any, and its text."""

    kind: str
    text: str
    tool: str = ""


@dataclass(repr=False)
class Trace:
    """The steps of a conversation and what they cost. `str()` is plain text; notebooks show a table."""

    steps: list[Step] = field(default_factory=list)
    usage: str = ""  # tokens in and out, and how the reply ended; empty for a list of messages

    @classmethod
    def of(cls, source: Any) -> "Trace":
        """From a reply of `/v1/responses` (its raw messages where they were asked for), chat or completions; from the
        items of a response; or from chat messages."""
        usage = _usage(source)
        if raw := _get(source, "output_messages"):
            messages = [*(_get(source, "input_messages") or []), *raw]
            return cls([step for message in messages for step in harmony_steps(message)], usage)
        if choices := _get(source, "choices"):
            return cls([step for choice in choices for step in _choice_steps(choice)], usage)
        items = source if (output := _get(source, "output")) is None else output
        if not isinstance(items, Iterable) or isinstance(items, str | bytes | dict):
            raise TypeError("a trace is made of a reply, of a response's items or of chat messages")
        return cls([step for item in items for step in item_steps(item)], usage)

    def tools(self) -> list[str]:
        """The tools called, in order."""
        return [step.tool for step in self.steps if step.kind == "call"]

    def results(self) -> list[str]:
        """What the tools returned, in order."""
        return [step.text for step in self.steps if step.kind == "result"]

    @property
    def answer(self) -> str:
        """The last final text; empty where there is none."""
        return next((step.text for step in reversed(self.steps) if step.kind == "final"), "")

    def __str__(self) -> str:
        lines = []
        for number, step in enumerate(self.steps, 1):
            head = f"{number:2}. {LABELS[step.kind]}" + (f" {step.tool}" if step.tool else "")
            body = shorten(step.text, MAX_CHARS).split("\n")
            lines += [f"{head}: {body[0]}", *(f"      {line}" for line in body[1:])]
        return "\n".join([*lines, f"    {self.usage}"] if self.usage else lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = []
        for step in self.steps:
            mark = _MARKS.get(step.kind, "")
            head = LABELS[step.kind] + (f" <code>{html.escape(step.tool)}</code>" if step.tool else "")
            body = html.escape(shorten(step.text, MAX_CHARS))
            rows.append(
                f'<tr style="vertical-align:top"><td style="text-align:left;white-space:nowrap">{head}</td>'
                f'<td style="text-align:left"><pre style="{_TEXT}{mark}">{body}</pre></td></tr>'
            )
        if self.usage:
            rows.append(
                '<tr><td></td><td style="text-align:left;opacity:0.8;font-size:smaller">'
                f"{html.escape(self.usage)}</td></tr>"
            )
        return f"<table>{''.join(rows)}</table>"


def harmony_steps(message: Any) -> list[Step]:
    """The steps of one raw Harmony message, as `enable_response_messages` returns them."""
    author = _get(message, "author") or {}
    role = _get(author, "role") or _get(message, "role") or ""
    name = _get(author, "name") or _get(message, "name")
    channel, recipient = _get(message, "channel"), _get(message, "recipient")
    text = _content(_get(message, "content"))
    if role == "tool":
        return [Step("result", text, name or "")]
    if role == "assistant" and recipient and recipient != "assistant":
        return [Step("call", text, recipient.removeprefix("functions."))]
    if role == "assistant":
        return [Step(channel if channel in ("analysis", "commentary", "final") else "final", text)]
    return [Step(role if role in LABELS else "user", text)]


def item_steps(item: Any) -> list[Step]:
    """The steps of one Responses item or one chat message."""
    kind, name, arguments = _get(item, "type"), _get(item, "name") or "", _get(item, "arguments") or ""
    if kind == "reasoning":
        return [Step("analysis", _content(_get(item, "content") or _get(item, "summary")))]
    if kind == "function_call":
        return [Step("call", arguments, name)]
    if kind == "function_call_output":
        return [Step("result", _content(_get(item, "output")), "")]
    if kind == "mcp_call":
        output = _get(item, "output")
        return [Step("call", arguments, name), *([Step("result", output, name)] if output else [])]
    if kind == "code_interpreter_call":
        return [Step("call", _get(item, "code") or "", "python")]
    if kind == "web_search_call":
        action = _get(item, "action") or {}
        tool = {"search": "search", "open_page": "open", "find_in_page": "find"}.get(_get(action, "type"), "")
        asked = _get(action, "query") or _get(action, "pattern") or _get(action, "url") or ""
        return [Step("call", asked.removeprefix("cursor:"), f"browser.{tool}")]
    role = _get(item, "role")
    text = _content(_get(item, "content"))
    if role == "tool":
        return [Step("result", text, name)]
    if role != "assistant":
        return [Step(role if role in LABELS else "user", text)]
    steps = [Step("analysis", thought)] if (thought := _get(item, "reasoning")) else []
    called = [_get(call, "function") for call in _get(item, "tool_calls") or []]
    steps += [Step("call", _get(one, "arguments") or "", _get(one, "name") or "") for one in called]
    return steps + ([Step("final", text)] if text else [])


def _choice_steps(choice: Any) -> list[Step]:
    """The steps of one choice of a chat completion, or the text of one of a plain completion."""
    message = _get(choice, "message")
    return [Step("final", _get(choice, "text") or "")] if message is None else item_steps(message)


def _usage(reply: Any) -> str:
    """`21 tokens in, 30 out (18 of them reasoning) · stop`; empty where nothing was counted."""
    usage = _get(reply, "usage")
    if not usage:
        return ""
    into = _get(usage, "input_tokens") or _get(usage, "prompt_tokens")
    out = _get(usage, "output_tokens") or _get(usage, "completion_tokens")
    thought = _get(_get(usage, "output_tokens_details"), "reasoning_tokens")
    choices = _get(reply, "choices") or []
    ends = [_get(choice, "finish_reason") for choice in choices] or [_get(reply, "status")]
    if reason := _get(_get(reply, "incomplete_details"), "reason"):
        ends.append(reason)
    counted = f"{into} tokens in, {out} out" + (f" ({thought} of them reasoning)" if thought else "")
    return " · ".join(map(str, filter(None, [counted, *ends])))


def _get(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, dict) else getattr(source, name, None)


def _content(content: Any) -> str:
    """Text of a string or of a list of parts; other parts (the system message's settings) as JSON."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = []
    for part in content if isinstance(content, list | tuple) else [content]:
        text = part if isinstance(part, str) else _get(part, "text")
        if _get(part, "type") in ("system_content", "developer_content"):
            text = _settings(part)
        if text is None:
            dumped = part.model_dump() if hasattr(part, "model_dump") else part
            text = json.dumps(dumped, ensure_ascii=False, default=str)
        parts.append(text)
    return "".join(parts)


def _settings(part: Any) -> str:
    """Harmony's system or developer message in one line: effort, instructions, the tools by namespace."""
    said = [f"reasoning {effort.lower()}"] if (effort := _get(part, "reasoning_effort")) else []
    for namespace, config in (_get(part, "tools") or {}).items():
        names = [_get(tool, "name") for tool in _get(config, "tools") or []]
        said.append(f"tool {namespace}" + (f" ({', '.join(names)})" if names else ""))
    if instructions := _get(part, "instructions"):
        said.append(instructions)
    return "; ".join(said) or "(no settings)"
