"""Writes recipes/responses_turns.yaml: conversations of several turns on /v1/responses, by looking at each prompt.

`python -m maintain.clients.turns` asks the CPU recipe's server. What a request becomes is read from vLLM's own field
`input_messages`: the Harmony messages that are rendered into the prompt.
"""

from collections.abc import Callable
from typing import Any

from helpers.paths import RECIPES
from maintain.clients.responses_api import Surface
from maintain.clients.support import Row

FILE = RECIPES / "responses_turns.yaml"
QUESTIONS = ("What is the weather in Paris?", "What is the weather in Rome?", "Thank you!")
RESULTS = ('{"temperature": 18}', '{"temperature": 25}')
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a city.",
    "parameters": CITY,
}
CALL = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city": "Paris"}'}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
Seen = tuple[str, str]
Message = tuple[str, str, str]  # author, channel, text


def prompt(reply: dict) -> list[Message]:
    """The messages of the prompt; raises KeyError for an error's answer."""
    found = []
    for message in reply["input_messages"]:
        parts = [
            part.get("text") or str(part.get("instructions") or part.get("reasoning_effort") or "")
            for part in message["content"]
        ]
        author = message.get("name") or message["role"]
        found.append((author, message.get("channel") or "", "".join(parts)))
    return found


class Turns:
    """A conversation with two tool calls, continued by resending or by the id of the response before."""

    def __init__(self, surface: Surface):
        self.surface = surface

    def ask(self, items: Any, **more: Any) -> dict:
        """One response, with the messages of its prompt."""
        body = {"input": items, "tools": [TOOL], "enable_response_messages": True} | more
        return self.surface.post(**body)[1]

    def resent(self) -> list[dict]:
        """Every reply of the conversation, its whole history sent each time."""
        items, replies = [], []
        for question, result in zip(QUESTIONS, [*RESULTS, ""], strict=True):
            items.append({"role": "user", "content": question})
            replies.append(self.ask(items))
            items += replies[-1]["output"]
            for call in [item for item in replies[-1]["output"] if item["type"] == "function_call"]:
                items.append({"type": "function_call_output", "call_id": call["call_id"], "output": result})
                replies.append(self.ask(items))
                items += replies[-1]["output"]
        return replies

    def continued(self) -> list[dict]:
        """The same conversation, each request with the id of the response before and what is new."""
        replies: list[dict] = []

        def ask(items: Any) -> dict:
            before = {"previous_response_id": replies[-1]["id"]} if replies else {}
            replies.append(self.ask(items, store=True, **before))
            return replies[-1]

        for question, result in zip(QUESTIONS, [*RESULTS, ""], strict=True):
            reply = ask([{"role": "user", "content": question}])
            for call in [item for item in reply["output"] if item["type"] == "function_call"]:
                ask([{"type": "function_call_output", "call_id": call["call_id"], "output": result}])
        return replies


def _whole(replies: list[dict]) -> Seen:
    """Whether the last prompt holds every question, call, result and answer."""
    last = prompt(replies[-1])
    texts = " ".join(text for _, _, text in last)
    calls = sum(channel == "commentary" and author == "assistant" for author, channel, _ in last)
    answers = sum(channel == "final" for _, channel, _ in last)
    if len(replies) == 5 and calls == 2 and answers == 2 and all(part in texts for part in QUESTIONS + RESULTS):
        return "supported", "questions, calls, results and answers of all turns are in the last prompt"
    return "partly", f"{calls} of 2 calls and {answers} of 2 answers are in the last prompt"


def _same(turns: Turns) -> Seen:
    resent, continued = prompt(turns.resent()[-1]), prompt(turns.continued()[-1])
    if resent == continued:
        return "supported", "the same messages"
    lost = [message[:2] for message in resent if message not in continued]
    more = [message[:2] for message in continued if message not in resent]
    return "partly", f"lost: {_told(lost)}; only with the id: {_told(more)}"


def _told(messages: list[tuple[str, ...]]) -> str:
    return ", ".join(f"{' '.join(filter(None, message))} message" for message in dict.fromkeys(messages)) or "nothing"


def _thoughts(turns: Turns) -> Seen:
    items = [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "FIRST"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hello"}]},
        {"role": "user", "content": QUESTIONS[0]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "SECOND"}]},
        CALL,
        {"type": "function_call_output", "call_id": "call_1", "output": RESULTS[0]},
    ]
    _, told = turns.surface.post(input=items, tools=[TOOL], max_output_tokens=16)
    _, short = turns.surface.post(input=[*items[:1], *items[2:]], tools=[TOOL], max_output_tokens=16)
    _, none = turns.surface.post(input=[*items[:4], *items[5:]], tools=[TOOL], max_output_tokens=16)
    counts = [reply["usage"]["input_tokens"] for reply in (told, short, none)]
    if counts[0] == counts[1] and counts[0] > counts[2]:
        return "supported", "thoughts before an answer are left out of the prompt, those before a call stay"
    return (
        "partly",
        f"prompts of {counts[0]}, {counts[1]} and {counts[2]} tokens: whole, without the first thought, without the second",
    )


def _edited(turns: Turns) -> Seen:
    output = {"type": "function_call_output", "call_id": "call_1", "output": '{"temperature": 3}'}
    call = CALL | {"arguments": '{"city": "Oslo"}'}
    texts = [text for _, _, text in prompt(turns.ask([{"role": "user", "content": QUESTIONS[0]}, call, output]))]
    good = '{"city": "Oslo"}' in texts and '{"temperature": 3}' in texts
    return ("supported", "the prompt holds the items as they were sent") if good else ("ignored", "the edit is lost")


def _replaced(field: str, mark: str, **new: Any) -> Callable[[Turns], Seen]:
    """Whether a field sent beside previous_response_id reaches the prompt."""

    def look(turns: Turns) -> Seen:
        first = turns.ask("hi", store=True, tools=[])
        reply = turns.ask(QUESTIONS[0], **{"tools": [], **new}, previous_response_id=first["id"])
        reached = mark in str(reply["input_messages"])
        return (
            ("supported", "it replaces the old one")
            if reached
            else ("ignored", "the first request's stay; resend the history instead")
        )

    return look


def _refused(items: list[dict], accepted: str, around: str) -> Callable[[Turns], Seen]:
    """Whether items are refused."""

    def look(turns: Turns) -> Seen:
        status, _ = turns.surface.post(input=[{"role": "user", "content": QUESTIONS[0]}, *items], tools=[TOOL])
        return ("refused", f"status {status}; {around}") if status >= 400 else ("ignored", accepted)

    return look


LIST = {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": RESULTS[0]}]}
CODE = {
    "type": "code_interpreter_call",
    "id": "ci_1",
    "code": "print(1)",
    "container_id": "auto",
    "outputs": None,
    "status": "completed",
}
COMPAT = "the middleware takes it"
PROBES: dict[str, Callable[[Turns], Seen]] = {
    "three turns, two with a tool call, resent": lambda turns: _whole(turns.resent()),
    "three turns by previous_response_id": lambda turns: _whole(turns.continued()),
    "the last prompt, resent against by id": _same,
    "thoughts in a resent history": _thoughts,
    "items edited before they are resent": _edited,
    "new instructions beside previous_response_id": _replaced(
        "instructions", "French", instructions="Answer only in French."
    ),
    "new tools beside previous_response_id": _replaced("tools", "get_weather", tools=[TOOL]),
    "new effort beside previous_response_id": _replaced("effort", "High", reasoning={"effort": "high"}),
    "a function's output as a list of parts": _refused([CALL, LIST], "accepted, lost", f"join the parts; {COMPAT}"),
    "items of built-in tools sent back": _refused([CODE], "accepted, lost", f"go on by previous_response_id; {COMPAT}"),
    "an unknown call's output": _refused(
        [LIST | {"output": "1", "call_id": "call_9"}], "accepted", "send the call before it"
    ),
    "an image part": _refused(
        [{"role": "user", "content": [{"type": "input_text", "text": "Look."}, IMAGE]}],
        "dropped without a word; the middleware puts words in its place",
        "send text",
    ),
}


def rows(surface: Surface) -> list[Row]:
    """Every probe, in their order."""
    return [Row(feature, *look(Turns(surface))) for feature, look in PROBES.items()]


def main() -> None:
    from maintain.responses_support import asked, write

    with asked() as (surface, version):
        write(rows(surface), version, FILE, "conversations of several turns", "maintain.clients.turns")


if __name__ == "__main__":
    main()
