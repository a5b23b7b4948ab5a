"""Requests that public reports name, each sent to vLLM alone and behind the middleware: what is right and what is not.

`recipes/client_cases.yaml` holds them. `python -m maintain.clients.cases` asks servers of the CPU recipe and writes what was
seen to recipes/client_cases_support.yaml.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from helpers.errors import CookbookError
from helpers.files import write_whole
from helpers.paths import RECIPES, shown
from maintain.clients.catalogue import LIMITS, MIDDLEWARE, OFF, PROMPT

if TYPE_CHECKING:
    import httpx

FILE, SEEN = RECIPES / "client_cases.yaml", RECIPES / "client_cases_support.yaml"
RIGHT, TOKENS = "right", 300  # TOKENS: of an answer, unless the request says otherwise
ENDS = ("response.completed", "response.incomplete", "response.failed")
Body = dict[str, Any]
Seen = tuple[str, str]  # RIGHT or a fault, of vLLM alone and behind the middleware


@dataclass(frozen=True)
class Case:
    """One conversation with a server, and what its last answer must be."""

    what: str
    reports: list[str]  # owner/repository#number
    path: str
    send: list[Body]  # one after another, with "$id", "$call_id", "$item_id" of the answer before; none: a GET
    right: Body  # see `fault`
    instead: str = ""  # the way around where vLLM alone is wrong
    flags: list[str] = field(default_factory=list)  # of vllm serve
    at_once: int = 1  # so many of them in flight together


@dataclass
class Reply:
    """An answer of any endpoint, streamed or not, in one form."""

    status: int
    text: str = ""
    finish: str = ""
    calls: dict[Any, list[str]] = field(default_factory=dict)  # place -> [name, arguments]
    empty: bool = False  # `tool_calls` is a list without an entry
    raw: Body = field(default_factory=dict)  # the answer, or the last event that holds one
    before: int = 0  # tokens of the prompt of the request before this one

    def call(self, place: Any, name: str | None, arguments: str | None) -> None:
        """One call, or a piece of one."""
        kept = self.calls.setdefault(place, ["", ""])
        kept[0], kept[1] = kept[0] + (name or ""), kept[1] + (arguments or "")


def read(status: int, told: list[Body]) -> Reply:
    """The answer in one piece, or the events of a stream; an error among them is its status."""
    reply = Reply(status)
    for event in told:
        if error := event.get("error"):
            return Reply(int(error["code"]) if str(error.get("code")).isdigit() else max(status, 400), raw=event)
        if "choices" in event:
            _chat(event, reply)
        elif event.get("object") == "response" or event.get("type") in ENDS:
            _response(event.get("response", event), reply)
        elif not str(event.get("type")).startswith("response."):
            _message(event, reply)
    return reply


def _chat(event: Body, reply: Reply) -> None:
    reply.raw = event if event.get("prompt_token_ids") else reply.raw
    for choice in event["choices"]:
        part = choice.get("delta") or choice.get("message") or {}
        reply.text += part.get("content") or ""
        reply.empty |= part.get("tool_calls") == []
        reply.finish = choice.get("finish_reason") or reply.finish
        for place, call in enumerate(part.get("tool_calls") or []):
            function = call.get("function") or {}
            reply.call(call.get("index", place), function.get("name"), function.get("arguments"))


def _response(whole: Body, reply: Reply) -> None:
    reply.raw = whole
    reply.finish = (whole.get("incomplete_details") or {}).get("reason") or whole["status"]
    for place, item in enumerate(whole["output"]):
        if item["type"] in ("function_call", "custom_tool_call"):
            reply.call(place, item["name"], item.get("arguments") or item.get("input"))
        elif item["type"] == "message":
            reply.text += "".join(part.get("text", "") for part in item["content"])


def _message(event: Body, reply: Reply) -> None:
    delta = event.get("delta") or {}
    blocks = event.get("content") or [event.get("content_block") or {}]
    for place, block in enumerate(blocks if isinstance(blocks, list) else []):
        reply.text += block.get("text") or ""
        if block.get("type") == "tool_use":
            reply.call(event.get("index", place), block["name"], json.dumps(block["input"]) if block["input"] else "")
    reply.text += delta.get("text") or ""
    if delta.get("partial_json"):
        reply.call(event["index"], "", delta["partial_json"])
    reply.finish = event.get("stop_reason") or delta.get("stop_reason") or reply.finish


def fault(reply: Reply, prompt: str, right: Body) -> str:
    """The first thing that is not as `right` says, "" for none. Its keys, all that are there must hold:

    called: one of these functions was, with arguments that are JSON and have `fields`; names: no other was. finish: one of
    these reasons. says: stands in the text. fits: the text is JSON with these keys. prompt, unprompted: stands in the
    prompt, or does not. as_long: the prompt has as many tokens as that of the request before. no_list: `tool_calls` is no
    empty list.
    """
    found = [(name, _parsed(arguments)) for name, arguments in reply.calls.values()]
    if reply.status != 200:
        return f"refused ({reply.status})"
    if any(name not in right["names"] for name, _ in found if "names" in right):
        return "a call of a tool that was not offered"
    if "called" in right and not any(name in right["called"] for name, _ in found):
        return "no call"
    if "called" in right and not all(set(right.get("fields", ())) <= set(given or ()) for _, given in found):
        return "arguments that do not fit"
    if reply.finish not in right.get("finish", [reply.finish]):
        return f"ends with {reply.finish}"
    if right.get("says", "") not in reply.text:
        return "another answer"
    if "fits" in right and set(_parsed(reply.text) or ()) != set(right["fits"]):
        return "an answer that does not fit"
    if missing := [mark for mark in right.get("prompt", ()) if mark not in prompt]:
        return f"`{missing[0]}` is not in the prompt"
    if there := [mark for mark in right.get("unprompted", ()) if mark in prompt]:
        return f"`{there[0]}` is in the prompt"
    if right.get("as_long") and _tokens(reply.raw) != reply.before:
        return "a prompt of another length"
    return "`tool_calls` is an empty list" if right.get("no_list") and reply.empty else ""


def _tokens(told: Body) -> int:
    """The tokens of an answer's prompt, 0 where it does not say."""
    usage = told.get("usage") or {}
    return int(usage.get("input_tokens") or usage.get("prompt_tokens") or 0)


def _parsed(text: str) -> Body | None:
    """A JSON object, None for anything else."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class Asker:
    """Sends cases to a server; `headers` say whether the middleware takes part."""

    def __init__(self, web: "httpx.Client", model: str, headers: dict[str, str]):
        self.web, self.model, self.headers = web, model, headers

    def seen(self, case: Case) -> str:
        """RIGHT, or the first fault: not streamed, then streamed where the endpoint can be and the prompt is not looked at."""
        looks = {"prompt", "unprompted"} & set(case.right)
        modes = [case.send[-1]["stream"]] if case.send and "stream" in case.send[-1] else [False, True]
        for stream in modes[:1] if looks or not case.send else modes:
            with ThreadPoolExecutor(case.at_once) as pool:
                told = list(
                    pool.map(lambda _, stream=stream: self._once(case, stream, bool(looks)), range(case.at_once))
                )
            if faults := list(filter(None, told)):
                return f"{'streamed: ' if stream and len(modes) == 2 else ''}{faults[0]}"
        return RIGHT

    def _once(self, case: Case, stream: bool, looks: bool) -> str:
        if not case.send:
            return fault(Reply(self.web.get(case.path).status_code), "", case.right)
        reply = Reply(200)
        for place, body in enumerate(case.send):
            last = place == len(case.send) - 1
            call = next((item for item in reply.raw.get("output") or [] if item["type"] == "function_call"), {})
            known = {"$id": reply.raw.get("id"), "$call_id": call.get("call_id"), "$item_id": call.get("id")}
            before = _tokens(reply.raw)
            reply = self._sent(case.path, _with(body, known) | ({"stream": stream} if last else {}), looks and last)
            reply.before = before
        return fault(reply, self._prompt(reply.raw) if looks and reply.status == 200 else "", case.right)

    def _sent(self, path: str, body: Body, looks: bool) -> Reply:
        limit = LIMITS.get(path, "max_tokens")
        whole = {"model": self.model, "temperature": 0, limit: TOKENS} | (PROMPT if looks else {}) | body
        reply = self.web.post(path, json=whole, headers=self.headers)
        if reply.status_code != 200 or not body.get("stream"):
            return read(reply.status_code, [reply.json()])
        lines = re.findall(r"^data: (\{.*\})$", reply.text, re.M)
        return read(200, [json.loads(line) for line in lines])

    def _prompt(self, told: Body) -> str:
        if "input_messages" in told:
            return json.dumps(told["input_messages"], ensure_ascii=False)
        body = {"model": self.model, "tokens": told["prompt_token_ids"]}
        return self.web.post("/detokenize", json=body).json()["prompt"]


def _with(body: Any, known: Body) -> Any:
    """A body with "$id" and the like filled in."""
    if isinstance(body, dict):
        return {key: _with(value, known) for key, value in body.items()}
    if isinstance(body, list):
        return [_with(value, known) for value in body]
    return known.get(body, body) if isinstance(body, str) else body


def cases() -> list[Case]:
    """Every case of the file."""
    return [Case(**row) for row in _read(FILE)["cases"]]


def seen() -> dict[str, Seen]:
    """What was seen of each case when the table was written."""
    return {what: (alone, helped) for what, (alone, helped) in _read(SEEN)["seen"].items()}


def version() -> str:
    """The vLLM that was asked, without the name of its build."""
    return str(_read(SEEN)["vllm"]).partition("+")[0]


def _read(path: Path) -> Body:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CookbookError(f"{shown(path)} cannot be read", why=str(error), do="restore the file from git") from None


def ask(case: Case, web: "httpx.Client", model: str) -> Seen:
    """What this server, which has the middleware, does to a case now."""
    return Asker(web, model, OFF).seen(case), Asker(web, model, {}).seen(case)


def table() -> list[str]:
    """The cases as Markdown lines."""
    lines = [
        "| request | endpoint | vLLM alone | with the middleware | way around | reports |",
        "|---|---|---|---|---|---|",
    ]
    found = seen()
    for row in cases():
        links = ", ".join(
            f"[{n}](https://github.com/{one.replace('#', '/issues/')})" for n, one in enumerate(row.reports, 1)
        )
        cells = (row.what, row.path, *found[row.what], row.instead, links)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def main() -> None:
    import httpx

    from maintain import responses_support

    found: dict[str, Seen] = {}
    for flags in dict.fromkeys(tuple(row.flags) for row in cases()):
        rows = [row for row in cases() if tuple(row.flags) == flags]
        with responses_support.asked(*MIDDLEWARE.split(), *flags) as (surface, vllm):
            web = httpx.Client(base_url=surface.base, timeout=120)
            found |= {row.what: ask(row, web, surface.model) for row in rows}
    content = {"vllm": vllm, "seen": {row.what: list(found[row.what]) for row in cases()}}
    head = "# What vLLM does with recipes/client_cases.yaml, alone and behind the middleware. Written by asking:\n"
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    print(shown(write_whole(SEEN, f"{head}# python -m maintain.clients.cases\n{text}")))


if __name__ == "__main__":
    main()
