"""The rules for requests: what public clients send and vLLM refuses or misreads for gpt-oss, in the form that it takes.

Each changes a body in place; one that is not as it expects raises. What each is for: recipes/compatibility.yaml.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from helpers.instack.compat.schemas import shown

Body = dict[str, Any]
CHAT, RESPONSES, MESSAGES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/completions"
# tools, also labels of mcp ones, that vLLM takes
BUILTIN = ("function", "web_search_preview", "code_interpreter", "container")
ITEMS = ("message", "function_call", "function_call_output", "reasoning")  # items that it reads, responses/harmony.py
UNREAD = "[a file that was not read]"
MEDIA = {"image": "[an image that this model cannot see]", "audio": "[audio]", "file": UNREAD, "document": UNREAD}
EFFORTS = {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}  # Harmony has low, medium and high
SAID = ("code", "outputs", "action", "arguments", "output", "error", "queries", "results")
UNSURE = ('"pattern', '"format"', '"not"', '"if"')  # not every form of these can be enforced; strict would refuse them


@dataclass
class Rewrite:
    """What became of one request: the notes for the response header, and the names that the answer gets back."""

    notes: dict[str, str] = field(default_factory=dict)
    namespaces: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # name in the prompt -> (namespace, name)
    customs: set[str] = field(default_factory=set)  # custom tools that were shown as functions
    refused: str = ""  # the one line of a 400

    def note(self, rule: str, words: str) -> None:
        """One more thing that a rule did."""
        self.notes[rule] = "; ".join(dict.fromkeys([*filter(None, [self.notes.get(rule)]), words]))

    def name(self, call: Body) -> str:
        """The name that the tool of a call or choice has in the prompt."""
        known = {pair: name for name, pair in self.namespaces.items()}
        return known.get((call.get("namespace"), call.get("name")), str(call.get("name") or ""))


def apply(path: str, body: Body, change: Rewrite) -> None:
    """Every rule of an endpoint, in place; raises where a part is not of the form that its rule expects."""
    history = body.get("input" if path == RESPONSES else "messages")
    for name in [name for name in (body if path == RESPONSES else ("tool_choice",)) if body.get(name, "") is None]:
        del body[name]
        change.note("nulls", name)
    _effort(path, body, change)
    for tool in [tool for tool in body.get("tools") or [] if path == MESSAGES and "input_schema" not in tool]:
        body["tools"].remove(tool)
        change.note("tool-types", f"{tool['type']} left out")
    if path == RESPONSES and body.get("tools"):
        names = Counter(one.get("name") for tool in body["tools"] for one in tool.get("tools") or [tool])
        body["tools"] = [new for tool in body["tools"] for new in _tools(tool, names, change)]
        choice = body.get("tool_choice")  # its tool may have another name or type now, or be gone
        if "tool-types" in change.notes and isinstance(choice, dict) and choice["type"] != "allowed_tools":
            named = choice["type"] in ("custom", "function")
            body["tool_choice"] = {"type": "function", "name": change.name(choice)} if named else "auto"
    if body.get("tools") == [] and path != MESSAGES and body.get("tool_choice") in (None, "auto", "none"):
        body.pop("tools")
        body.pop("tool_choice", None)
        change.note("empty-tools", "left out")
    tools = [tool.get("function") or tool for tool in body.get("tools") or []]
    for tool in tools:
        for key in ("parameters", "input_schema"):
            if (new := shown(tool.get(key))) is not tool.get(key):
                tool[key] = new
                change.note("schemas", str(tool.get("name")))
    if path != MESSAGES:
        _strict(body, [tool for tool in tools if tool.get("parameters")], change)
    if path == RESPONSES and isinstance(history, list):
        body["input"] = [new for item in history for new in _items(item, change)]
    elif path != RESPONSES:
        body["messages"] = [_message(message, "text", change) for message in history or []]
    if path == CHAT:
        _results(body["messages"], change)


def _tools(tool: Body, names: Counter[Any], change: Rewrite) -> Iterator[Body]:
    """One tool of a Responses request as the tools that vLLM takes for gpt-oss: itself, several, or none."""
    kind, name = tool["type"], str(tool.get("name"))
    if kind == "namespace":
        change.note("tool-types", f"namespace {name} as functions")
        for inner in tool["tools"]:
            flat = inner["name"] if names[inner["name"]] == 1 else f"{name}__{inner['name']}"  # models drop a prefix
            change.namespaces[flat] = (name, inner["name"])
            yield from _tools(inner | {"name": flat}, names, change)
    elif kind == "custom":
        change.note("tool-types", f"custom {name} as a function")
        change.customs.add(name)
        form, text = tool.get("format") or {}, str(tool.get("description") or "")
        if form.get("type") == "grammar":
            text += f" The input follows this {form.get('syntax')} grammar: {form.get('definition')}"
        parameters = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
        yield {"type": "function", "name": name, "description": text, "parameters": parameters}
    elif kind.startswith("web_search") and kind != "web_search_preview":
        change.note("tool-types", f"{kind} as web_search_preview")
        yield {"type": "web_search_preview"}
    elif kind in BUILTIN or tool.get("server_label") in BUILTIN:
        yield tool
    else:
        change.note("tool-types", f"{kind} left out")


def _effort(path: str, body: Body, change: Rewrite) -> None:
    """An effort that Harmony does not have as the nearest one that it has."""
    place = body if path == CHAT else body.get("reasoning" if path == RESPONSES else "output_config") or {}
    name = "reasoning_effort" if path == CHAT else "effort"
    if (asked := place.get(name)) in EFFORTS:
        place[name] = EFFORTS[asked]
        change.note("effort", f"{asked} as {place[name]}")
    if path == MESSAGES and (body.get("thinking") or {}).get("type") in ("enabled", "disabled"):
        change.note("effort", f"thinking {body.pop('thinking')['type']} left out")


def _strict(body: Body, functions: list[Body], change: Rewrite) -> None:
    """Strict tools where a call is forced, else its arguments are any JSON, or beside a structured answer, else none is made."""
    form = (body.get("text") or {}).get("format") or body.get("response_format") or {}
    choice = body.get("tool_choice") or "auto"
    if choice == "none" or (choice == "auto" and form.get("type", "text") == "text"):
        return
    for function in [] if any(function.get("strict") for function in functions) else functions:
        if not any(word in json.dumps(function["parameters"]) for word in UNSURE):
            function["strict"] = True
            change.note("strict-tools", str(function["name"]))


def _items(item: Body, change: Rewrite) -> Iterator[Body]:
    """One item of a Responses history as the items that vLLM reads for gpt-oss."""
    kind = item.get("type", "message")
    if kind == "message":
        yield _message(item, "output_text" if item.get("role") == "assistant" else "input_text", change)
    elif kind == "function_call_output" and isinstance(item.get("output"), str):
        yield item
    elif kind.endswith("_call_output") and item.get("call_id"):
        change.note("tool-outputs" if kind == "function_call_output" else "returned-items", f"{kind} as text")
        output = _text(item.get("output"), change)
        yield {"type": "function_call_output", "call_id": item["call_id"], "output": output}
    elif kind.endswith("_call") and item.get("call_id") and (kind != "function_call" or item.get("namespace")):
        change.note("returned-items" if kind != "function_call" else "tool-types", f"{kind} as a function's")
        given = item.get("arguments") or item.get("action") or {"input": item.get("input")}
        arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        name = change.name(item) or kind.removesuffix("_call")
        yield {"type": "function_call", "call_id": item["call_id"], "name": name, "arguments": arguments}
    elif kind in ITEMS:
        yield item
    elif kind.endswith("_call"):  # of a tool that the server ran: a thought, which Harmony drops after an answer
        change.note("returned-items", f"{kind} as reasoning")
        said = json.dumps({key: item[key] for key in SAID if item.get(key)}, ensure_ascii=False)
        text = f"{item.get('name') or kind.removesuffix('_call')}: {said}"
        yield {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}
    else:
        change.note("returned-items", f"{kind} left out")


def _message(message: Body, known: str, change: Rewrite) -> Body:
    """A message with parts of text only, under the name that the endpoint knows."""
    if not isinstance(message.get("content"), list):
        return message
    new = [_part(part, known, change) for part in message["content"]]
    return message if new == message["content"] else message | {"content": new}


def _part(part: Any, known: str, change: Rewrite) -> Any:
    """One part: an image or a file as words that say so."""
    kind = part.get("type", "") if isinstance(part, dict) else ""
    if kind == "tool_result" and isinstance(part.get("content"), list):
        return part | {"content": [_part(inner, known, change) for inner in part["content"]]}
    words = next((words for mark, words in MEDIA.items() if mark in kind), None)
    if words or kind in (("input_text", "output_text") if known == "text" else ("text",)):
        change.note("parts", f"{kind} as {'words' if words else 'text'}")
        return {"type": known, "text": words or part.get("text", "")}
    return part


def _text(output: Any, change: Rewrite) -> str:
    """A tool's output as one text."""
    if not isinstance(output, list):
        return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    parts = [_part(part, "input_text", change) for part in output]
    return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in parts)


def _results(history: list[Body], change: Rewrite) -> None:
    """A tool's result whose id is no call's: by its name, else the request is refused."""
    calls: dict[Any, Any] = {}
    for place, message in enumerate(history):
        calls |= {call.get("id"): call["function"]["name"] for call in message.get("tool_calls") or []}
        wanted = message.get("tool_call_id")
        if message.get("role") != "tool" or wanted is None or wanted in calls:
            continue
        same = [name for name, function in calls.items() if function == message.get("name")]
        if same:
            change.note("result-names", f"{wanted} as {same[-1]}")
            history[place] = message | {"tool_call_id": same[-1]}
        else:
            change.refused = f"messages[{place}] answers the call {wanted!r}, which no message before it made"


def referenced(body: Body, serving: Any, change: Rewrite) -> None:
    """Items that are named by the id of an earlier answer's, as they were there."""
    history = body.get("input")
    if not isinstance(history, list) or not any(item.get("type") == "item_reference" for item in history):
        return
    known = {item.id: item for response in serving.response_store.values() for item in response.output}
    for place, item in enumerate(history):
        if item.get("type") == "item_reference" and item["id"] in known:
            history[place] = known[item["id"]].model_dump(exclude_none=True)
            change.note("returned-items", "item_reference as the item")


def continued(body: Body, serving: Any, change: Rewrite) -> None:
    """Other instructions, tools or effort beside `previous_response_id`, which vLLM ignores: the request without the id.

    Its history goes along in vLLM's own field, which takes all but the instructions.
    """
    name = body.get("previous_response_id")
    before, told = serving.response_store.get(name), serving.msg_store.get(name)
    if before is None or told is None or body.get("previous_input_messages"):
        return
    old = [tool.model_dump(exclude_unset=True) for tool in before.tools]
    effort = (before.reasoning.effort if before.reasoning else None, (body.get("reasoning") or {}).get("effort"))
    same = (before.instructions, old) == (body.get("instructions"), body.get("tools") or []) and effort[0] == effort[1]
    if same or not (body.get("instructions") or body.get("tools") or effort[1]):
        return  # the same request again, or one that asks for nothing new
    calls = {item.call_id: item.name for item in before.output if item.type == "function_call"}
    history = [message.to_dict() for message in told if str(message.author.role.value) not in ("system", "developer")]
    items = [{"role": "user", "content": body["input"]}] if isinstance(body["input"], str) else list(body["input"])
    while items and items[0].get("type") == "function_call_output" and items[0]["call_id"] in calls:
        item = items.pop(0)
        said = {"content": item["output"], "channel": "commentary", "recipient": "assistant"}
        history.append(said | {"author": {"role": "tool", "name": f"functions.{calls[item['call_id']]}"}})
    body |= {"input": items, "previous_input_messages": history}
    del body["previous_response_id"]
    change.note("instructions", "taken from this request")
