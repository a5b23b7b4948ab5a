"""Writes recipes/structured_support.yaml: JSON schemas on each endpoint beside tools, efforts and speculation, by asking.

`python -m maintain.clients.structured` asks two servers of the CPU recipe: as it is, and with n-gram speculation.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from helpers.paths import RECIPES
from maintain.clients.responses_api import TIMEOUT_S, Surface
from maintain.clients.support import Row

FILE = RECIPES / "structured_support.yaml"
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
EXTRACT = "Extract the name and age: Anna Miller is 34 years old."
WEATHER = "What is the weather in Paris?"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "get_weather", "description": "Get the current weather for a city.", "parameters": CITY}
AT_ONCE = 16
NGRAM = '{"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}'
AROUND = "set `strict: true` on a tool, or start vLLM with `--tool-strict-level function`"
Reply = tuple[str, list[str]]  # the answer's text, the names of the functions called


def events(surface: Surface, path: str, body: dict) -> list[dict]:
    """The events of a stream, or the one answer."""
    import httpx

    url = surface.base + path
    with httpx.stream("POST", url, json=body, headers=surface.headers, timeout=TIMEOUT_S) as reply:
        if not body.get("stream") or reply.status_code != 200:
            return [json.loads(reply.read())]
        lines = [line[6:] for line in reply.iter_lines() if line.startswith("data: ") and line != "data: [DONE]"]
    return [json.loads(line) for line in lines]


class Chat:
    """Requests on /v1/chat/completions."""

    name = "chat completions"

    def __init__(self, surface: Surface):
        self.surface = surface

    def ask(self, question: str, stream: bool, tools: dict | None, effort: str, more: list[dict]) -> Reply:
        """One request under the schema; `more` is what follows the question."""
        schema = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
        body: dict[str, Any] = {"messages": [{"role": "user", "content": question}, *more], "response_format": schema}
        body |= {"model": self.surface.model, "temperature": 0, "max_tokens": 300, "stream": stream}
        body |= {"reasoning_effort": effort} if effort else {}
        if tools:
            function = FUNCTION | ({"strict": True} if tools.get("strict") else {})
            body |= {"tools": [{"type": "function", "function": function}], "tool_choice": tools["choice"]}
        told = events(self.surface, "/v1/chat/completions", body)
        parts = [c.get("delta", c.get("message")) for event in told for c in event.get("choices", [])]
        calls = [call for part in parts for call in part.get("tool_calls") or []]
        names = [call["function"]["name"] for call in calls if call.get("function", {}).get("name")]
        return "".join(part.get("content") or "" for part in parts), names

    def told(self) -> list[dict]:
        """A call and its result, as this endpoint takes them back."""
        call = {
            "id": "call_1",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
        }
        result = {"role": "tool", "tool_call_id": "call_1", "content": '{"temperature": 18}'}
        return [{"role": "assistant", "content": None, "tool_calls": [call]}, result]


class Responses(Chat):
    """Requests on /v1/responses."""

    name = "responses"

    def ask(self, question: str, stream: bool, tools: dict | None, effort: str, more: list[dict]) -> Reply:
        """One request under the schema; `more` is what follows the question."""
        form = {"format": {"type": "json_schema", "name": "person", "schema": PERSON, "strict": True}}
        body: dict[str, Any] = {"input": [{"role": "user", "content": question}, *more], "text": form}
        body |= {"model": self.surface.model, "temperature": 0, "max_output_tokens": 300, "stream": stream}
        body |= {"reasoning": {"effort": effort}} if effort else {}
        if tools:
            function = {"type": "function", **FUNCTION} | ({"strict": True} if tools.get("strict") else {})
            body |= {"tools": [function], "tool_choice": tools["choice"]}
        told = events(self.surface, "/v1/responses", body)
        last = told[-1].get("response", told[-1])
        calls = [item["name"] for item in last["output"] if item["type"] == "function_call"]
        parts = [part for item in last["output"] if item["type"] == "message" for part in item["content"]]
        return "".join(part["text"] for part in parts), calls

    def told(self) -> list[dict]:
        """A call and its result, as this endpoint takes them back."""
        call = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city": "Paris"}'}
        return [call, {"type": "function_call_output", "call_id": "call_1", "output": '{"temperature": 18}'}]


def fits(reply: Reply) -> bool:
    """Whether the answer is JSON of the schema, and nothing was called."""
    try:
        found = json.loads(reply[0])
    except ValueError:
        return False
    named = isinstance(found, dict) and isinstance(found.get("name"), str) and isinstance(found.get("age"), int)
    return named and set(found) == {"name", "age"} and not reply[1]


def called(reply: Reply) -> bool:
    """Whether the tool was called, once."""
    return reply[1] == ["get_weather"]


Judge = Callable[[Reply], bool]
AUTO, STRICT, REQUIRED = {"choice": "auto"}, {"choice": "auto", "strict": True}, {"choice": "required"}
# mode -> question, tools, effort, whether the tool was called before, what is right, words for right and for wrong
Mode = tuple[str, dict | None, str, bool, Judge, str, str]
MODES: dict[str, Mode] = {
    "plain": (EXTRACT, None, "", False, fits, "the answer fits", "it does not fit"),
    "effort low": (EXTRACT, None, "low", False, fits, "the answer fits", "it does not fit"),
    "effort medium": (EXTRACT, None, "medium", False, fits, "the answer fits", "it does not fit"),
    "effort high": (EXTRACT, None, "high", False, fits, "the answer fits", "it does not fit"),
    "tools auto, none needed": (EXTRACT, AUTO, "", False, fits, "the answer fits", "it does not fit"),
    "tools auto, one needed": (
        WEATHER,
        AUTO,
        "",
        False,
        called,
        "it is called",
        f"never called: the schema leaves room for an answer only; {AROUND}",
    ),
    "tools auto and strict, one needed": (WEATHER, STRICT, "", False, called, "it is called", "it is not called"),
    "tools auto and strict, after the result": (WEATHER, STRICT, "", True, fits, "the answer fits", "it does not fit"),
    "tools required": (
        WEATHER,
        REQUIRED,
        "",
        False,
        called,
        "it is called; the schema waits for an answer",
        "it is not called",
    ),
}
SPECULATED = ("plain", "tools auto, one needed", "tools auto and strict, one needed", "tools required")


def rows(surface: Surface, modes: list[str], note: str = "") -> list[Row]:
    """One row for each endpoint and mode: both streamed and not."""
    found = []
    for api in (Chat(surface), Responses(surface)):
        for mode in modes:
            question, tools, effort, told, judge, yes, no = MODES[mode]
            good = [judge(api.ask(question, s, tools, effort, api.told() if told else [])) for s in (False, True)]
            half = f"{yes} {'streamed' if good[1] else 'not streamed'}; otherwise {no}"
            state = "supported" if all(good) else "partly" if any(good) else "ignored"
            seen = yes if all(good) else half if any(good) else no
            found.append(Row(f"{api.name}, {mode}{note}", state, seen))
    return found


def at_once(surface: Surface, note: str) -> list[Row]:
    """One row for each endpoint: many requests in flight together, every answer JSON of the schema."""
    found = []
    for api in (Chat(surface), Responses(surface)):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            good = list(pool.map(lambda n, api=api: fits(api.ask(EXTRACT, n % 2 == 0, None, "", [])), range(AT_ONCE)))
        seen = f"all {AT_ONCE} answers fit" if all(good) else f"{sum(good)} of {AT_ONCE} answers fit"
        found.append(Row(f"{api.name}, {AT_ONCE} at once{note}", "supported" if all(good) else "partly", seen))
    return found


def main() -> None:
    from maintain.responses_support import asked, write

    found = []
    for flags, modes, note in (((), list(MODES), ""), (("--speculative-config", NGRAM), list(SPECULATED), ", n-gram")):
        with asked(*flags) as (surface, version):
            found += rows(surface, modes, note) + (at_once(surface, note) if note else [])
    write(found, version, FILE, "JSON schemas", "maintain.clients.structured")


if __name__ == "__main__":
    main()
