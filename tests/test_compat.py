"""The middleware: each rule by the request that needs it, and nothing else touched, byte for byte."""

import asyncio
import json
import subprocess
import time
from types import SimpleNamespace

import httpx
import pytest

from helpers.instack.compat import Compatibility, changed
from helpers.instack.compat.requests import CHAT, COMPLETIONS, MESSAGES, RESPONSES
from helpers.instack.compat.schemas import shown
from helpers.paths import ROOT
from maintain.clients.catalogue import NEEDS, OFF, needs
from maintain.clients.responses_api import Surface
from tests.compat_front import front_of

ROWS = needs()
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
MOST = 3  # times what reading and writing the request takes by itself


def sent(body: dict | bytes, path: str = "/v1/responses", chunks: list[bytes] | None = None, **headers: str):
    """(what the application got, what came out) for one request: an application that echoes or says `chunks`."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    got, out = [], []

    async def application(scope, receive, send):
        got.append((scope, await receive()))
        kind = b"application/json" if chunks is None else b"text/event-stream"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for chunk in chunks or [got[0][1]["body"]]:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def receive():
        return {"type": "http.request", "body": text, "more_body": False}

    async def send(message):
        out.append(message)

    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(b"content-length", b"%d" % len(text)), *given],
    }
    asyncio.run(Compatibility(application)(scope, receive, send))
    return got, out


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.rule}: {row.what[:40]}" for row in ROWS])
def test_each_rule_takes_the_request_that_needs_it(row) -> None:
    if row.rule in ("cut-off", "instructions"):  # one for answers, one that needs the stored responses
        return
    body, change = changed(json.dumps(row.body).encode(), row.path)
    assert row.rule in change.notes and body != row.body
    _, change = changed(json.dumps(body).encode(), row.path)
    assert not change.notes or row.rule == "tool-types", "what it made needs nothing more"


def test_every_rule_of_the_code_has_its_row() -> None:
    text = "".join(path.read_text() for path in (NEEDS.parents[1] / "helpers/instack/compat").glob("*.py"))
    found = {word for word in text.replace('"', " ").split() if word in {row.rule for row in ROWS}}
    assert found | {"cut-off"} == {row.rule for row in ROWS}
    assert all(row.issue.partition("#")[2].isdigit() or not row.issue for row in ROWS)
    assert all(row.instead and row.alone != row.right for row in ROWS)


ODD = [
    b"",
    b"{",
    b"[1]",
    b'"tools"',
    b'{"tools": "none"}',
    b'{"tools": [1, null, "x"]}',
    b'{"tools": {"type": "custom"}}',
    b'{"tools": [{"type": 3}]}',
    b'{"tools": [{"type": "namespace", "tools": [1]}]}',
    b'{"input": [[1], 2], "a": "_call"}',
    b'{"messages": [{"role": "tool", "tool_call_id": ["x"]}]}',
    b'{"tools":' + b"[" * 100_000,
    b"\xff\xfe_call",
    b'{"input": [{"type": "reasoning", "summary": []}], "tools": null}',
    b'{"messages": [{"role": "tool", "tool_calls": 3}]}',
]


@pytest.mark.parametrize("body", ODD, ids=[str(body[:40]) for body in ODD])
@pytest.mark.parametrize("path", (CHAT, MESSAGES, RESPONSES))
def test_what_no_rule_understands_goes_on_as_it_came(body: bytes, path: str) -> None:
    got, out = sent(body, path)
    if not any(name == b"x-compat" for name, _ in out[0]["headers"]):
        assert got[0][1]["body"] == body


@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize", "/v1/embeddings", "/metrics"])
def test_other_endpoints_are_not_read(path: str) -> None:
    body = json.dumps(ROWS[0].body).encode()
    assert sent(body, path)[0][0][1]["body"] == body


TEXTS = {
    CHAT: lambda text: {"messages": [{"role": "user", "content": f"see {text}"}]},
    RESPONSES: lambda text: {"input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}]},
    MESSAGES: lambda text: {"system": text, "messages": []},
}
WORDS = " ".join(["word", "字" * 4_999, "-" * 4_999, "\n" * 4_990, "x1" * 20_000, "0" * 20_000])
REFUSED = [
    (COMPLETIONS, {"prompt": [7] * 2_001, "prompt_logprobs": 0}, "2,000 tokens"),
    (COMPLETIONS, {"prompt": [[7], [7] * 2_001], "prompt_logprobs": 0}, "2,000 tokens"),
    (COMPLETIONS, {"prompt": ["a", "é" * 1_001], "echo": True, "logprobs": 0}, "2,000 tokens"),
    (CHAT, {"messages": [{"role": "user", "content": "a" * 2_000}], "prompt_logprobs": 1}, "2,000 tokens"),
    (
        CHAT,
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 1_001}]},
        "1,000 tools, or parts",
    ),
    (RESPONSES, {"input": "a", "tools": [1] * 1_001}, "1,000 tools, or parts"),
    (CHAT, {"messages": [{"role": "user", "content": "a" * 9_999}], "prompt": 3}, "a run of more than 5,000"),
    (
        CHAT,
        {"messages": [{"role": "user", "content": "a " * 2_000}], "prompt": 3, "prompt_logprobs": 0},
        "2,000 tokens",
    ),
    ("/invocations", {"prompt": [7] * 2_001, "prompt_logprobs": 0}, "2,000 tokens"),
    ("/v1/chat/completions/batch", {"messages": [[{"content": "a" * 2_001}]], "prompt_logprobs": 0}, "2,000 tokens"),
    *(
        (
            "/inference/v1/generate",
            {"token_ids": [7] * 2_001, "sampling_params": {"prompt_logprobs": 0}} | more,
            "2,000 tokens",
        )
        for more in ({}, {"prompt": "a"})
    ),
    *(
        (COMPLETIONS, {"prompt": [7] * 2_001, "prompt_logprobs": 0, "sampling_params": given}, "2,000 tokens")
        for given in ({}, 1)
    ),
    ("/tokenize", {"messages": [{"role": "user", "content": [1] * 1_001}]}, "1,000 tools, or parts"),
    *(
        (path, body(letter * 10_000), "a run of more than 5,000")
        for path, body in TEXTS.items()
        for letter in ("a", "\n", "=", "语")
    ),
]
TAKEN = [
    (COMPLETIONS, {"prompt": [[7] * 2_000] * 3, "prompt_logprobs": 0}),
    (COMPLETIONS, {"prompt": [7] * 9_000, "logprobs": 5}),
    ("/inference/v1/generate", {"token_ids": [7] * 2_000, "sampling_params": {"prompt_logprobs": 0}}),
    ("/inference/v1/generate", {"token_ids": [7] * 9_000, "sampling_params": {"logprobs": 5}}),
    (COMPLETIONS, {"prompt": "a" * 9_000, "echo": True}),
    (COMPLETIONS, {"prompt": 3, "prompt_logprobs": 0}),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 1_000}]}),
    (MESSAGES, {"messages": [{"role": "user", "content": "a"}] * 200}),
    ("/v1/embeddings", {"input": ["a"] * 9_000}),
    (COMPLETIONS, {"prompt": "a" * 20_000}),
    *((path, body(WORDS)) for path, body in TEXTS.items() if path != MESSAGES),
]


@pytest.mark.parametrize(("path", "body", "why"), REFUSED, ids=[why for _, _, why in REFUSED])
def test_what_would_end_the_server_is_refused_whatever_the_header_says(path: str, body: dict, why: str) -> None:
    for headers in ({}, OFF):
        got, out = sent(body, path, **{name.replace("-", "_"): value for name, value in headers.items()})
        error = json.loads(out[1]["body"])["error"]
        assert not got and out[0]["status"] == 400 and why in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"prompt": "a" * 2_001, "prompt_logprobs": 0}).encode("utf-16"),
        json.dumps({"prompt": "a" * 2_001, "prompt_logprobs": 0}).replace("logprobs", "l\\u006fgprobs").encode(),
    ],
    ids=["another encoding", "an escape"],
)
def test_a_hidden_key_is_found(body: bytes) -> None:
    assert not sent(body, COMPLETIONS)[0]


@pytest.mark.parametrize(("path", "body"), TAKEN, ids=range(len(TAKEN)))
def test_what_is_within_the_limits_is_not(path: str, body: dict) -> None:
    assert sent(body, path)[0][0][1]["body"] == json.dumps(body).encode()


STRICT = """
import json, time
from helpers.instack.compat.refusals import deadly
from helpers.instack.compat.requests import CHAT, RESPONSES
image = {"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]}
called = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
known = [image, {"type": "reasoning", "id": "r", "summary": []}, called]
known = [*known, {"type": "function_call_output", "call_id": "a", "output": "x"}] * 100
call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
chat = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
chat = [*chat, {"role": "tool", "tool_call_id": "a", "content": "x"}] * 100
ask = lambda path, body: deadly(json.dumps(body).encode(), path)
told = [ask(RESPONSES, {"input": known}), ask(CHAT, {"messages": chat}), ask(RESPONSES, {"input": [*known, {"type": "x"}]})]
began = time.process_time()  # of a busy machine, too
told += [ask(RESPONSES, {"input": [{"role": "tool", "content": "x"}] * 9_000}), ask(CHAT, {"messages": [[], *[1] * 100_000]})]
told += [ask("/tokenize", {"messages": [1] * 9_000}), ask("/invocations", {"messages": [1] * 9_000})]
print(json.dumps([told, time.process_time() - began]))
"""


@pytest.mark.full
def test_a_long_list_is_refused_at_its_first_unknown_item_and_a_known_one_taken(interpreter) -> None:
    done = subprocess.run(
        [interpreter, "-c", STRICT], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    told, seconds = json.loads(done.stdout.splitlines()[-1])
    assert told[:2] == ["", ""] and told[2] == "input.400 is of no known type"
    assert told[3:] == ["input.0 is of no known type", *["messages.0 is of no known type"] * 3] and seconds < 2


def test_a_compressed_request_and_one_that_says_off_are_not_read() -> None:
    body = json.dumps(ROWS[0].body).encode()
    for headers in ({"content_encoding": "zstd"}, OFF):
        assert sent(body, **{name.replace("-", "_"): value for name, value in headers.items()})[0][0][1]["body"] == body


def test_a_stream_that_needs_nothing_keeps_its_chunks() -> None:
    chunks = [b'data: {"a": ', b"1}\n\n", "data: é".encode()[:-1], b"\xa9\n", b"\ndata: [DONE]\n\n"]
    body = {"tools": [{"type": "function", **FUNCTION}], "stream": True}
    _, out = sent(body, chunks=chunks)
    assert [message["body"] for message in out[1:]] == [*chunks, b""]


def test_flattened_names_come_back_as_the_client_knows_them_however_the_stream_is_cut() -> None:
    tools = [
        {"type": "namespace", "name": "n", "tools": [{"type": "function", **FUNCTION}]},
        {"type": "custom", "name": "c"},
        {"type": "function", **FUNCTION},  # of the same name: the other keeps its namespace in the prompt
    ]
    call = {"type": "function_call", "name": "n__f", "call_id": "1", "arguments": "{}"}
    custom = {"type": "function_call", "name": "c", "call_id": "2", "arguments": '{"input": "é"}'}
    events = [
        {"type": "response.output_text.delta", "delta": "function_call n__f"},
        {"type": "response.output_item.done", "item": call},
        {"type": "response.output_item.done", "item": custom},
        {"type": "response.function_call_arguments.done", "name": "n__f", "arguments": "{}"},
        {"type": "response.completed", "response": {"output": [call, custom]}},
    ]
    text = "".join(f"event: {e['type']}\ndata: {json.dumps(e, ensure_ascii=False)}\n\n" for e in events).encode()
    for size in (1, 7, len(text)):
        _, out = sent({"tools": tools, "stream": True}, chunks=[text[i : i + size] for i in range(0, len(text), size)])
        whole = b"".join(message["body"] for message in out[1:]).decode()
        found = [json.loads(line[6:]) for line in whole.splitlines() if line.startswith("data: ")]
        assert found[0] == events[0] and found[3]["name"] == "f"
        for item in (found[1]["item"], found[4]["response"]["output"][0]):
            assert (item["namespace"], item["name"]) == ("n", "f")
        for item in (found[2]["item"], found[4]["response"]["output"][1]):
            assert (item["type"], item["input"]) == ("custom_tool_call", "é") and "arguments" not in item


@pytest.mark.parametrize(
    "reason, arguments, used, wanted",
    [
        (None, '{"a', 9, "length"),
        (None, "{}", 20, "length"),
        (None, "{}", 9, "tool_calls"),
        (200012, '{"a', 20, "tool_calls"),
    ],
)
def test_a_cut_off_call_says_so_and_a_whole_one_does_not(reason, arguments, used, wanted) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    choice = {"finish_reason": "tool_calls", "stop_reason": reason, "message": {"tool_calls": [call]}}
    answer = json.dumps({"choices": [choice], "usage": {"completion_tokens": used}}).encode()
    body = {"tools": [{"type": "function", "function": FUNCTION}], "max_tokens": 20}

    async def application(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": answer[:20], "more_body": True})
        await send({"type": "http.response.body", "body": answer[20:]})

    transport = httpx.ASGITransport(Compatibility(application))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as web:
            return await web.post("/v1/chat/completions", json=body)

    reply = asyncio.run(ask())
    assert reply.json()["choices"][0]["finish_reason"] == wanted
    assert (reply.content == answer) == (wanted == "tool_calls")


def test_a_result_of_no_call_is_refused_where_its_name_does_not_help() -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "tool", "tool_call_id": "call_9", "content": "7"}]
    got, out = sent({"messages": messages}, "/v1/chat/completions")
    assert not got and out[0]["status"] == 400 and b"call_9" in out[1]["body"]


def test_a_name_of_the_client_does_not_break_the_header() -> None:
    tools = [{"type": "namespace", "name": "a\r\nx-evil: 1\u2028", "tools": []}, {"type": "function", **FUNCTION}]
    header = dict(sent({"tools": tools})[1][0]["headers"])[b"x-compat"]
    assert b"\r" not in header and b"\n" not in header and len(header) <= 1_000


def test_a_schema_that_points_at_itself_or_grows_without_end_stays_small() -> None:
    link = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Link"}}}
    assert len(json.dumps(shown({"$ref": "#/$defs/Link", "$defs": {"Link": link}}))) < 1_000
    grows = {f"x{n}": {"properties": {k: {"$ref": f"#/$defs/x{n + 1}"} for k in "abcdef"}} for n in range(30)}
    assert len(json.dumps(shown({"$ref": "#/$defs/x0", "$defs": grows}))) < 50_000


def test_it_costs_little_beside_reading_the_request() -> None:
    """Codex's request: 40 kB, tools with nested schemas, a history. 0.6 ms, twice what reading and writing it takes."""
    fields = {f"field_{n}": {"type": "string", "description": "what it is for " * 8} for n in range(12)}
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": fields}}
    inner = [tool | {"name": f"g{n}"} for n in range(4)]
    text = [{"type": "input_text", "text": "You are a coding agent. " * 700}]
    body = {
        "tools": [tool | {"name": f"f{n}"} for n in range(8)] + [{"type": "namespace", "name": "n", "tools": inner}]
    }
    body |= {"input": [{"type": "message", "role": "developer", "content": text}], "stream": True}
    whole = json.dumps(body).encode()
    assert len(whole) > 35_000
    taken, read = [], []
    for _ in range(50):
        began = time.perf_counter()
        new, change = changed(whole, RESPONSES)
        json.dumps(new, ensure_ascii=False).encode()
        taken.append(time.perf_counter() - began)
        began = time.perf_counter()
        json.dumps(json.loads(whole), ensure_ascii=False).encode()
        read.append(time.perf_counter() - began)
    assert change.namespaces and min(taken) < MOST * min(read)


@pytest.mark.real
def test_the_server_alone_does_what_the_table_says_and_the_rules_help(session) -> None:
    """Every row, twice: with the rules switched off, and on."""
    model, faults = session.server.model, []
    with front_of(session.server.base_url) as (address, _), httpx.Client(base_url=address, timeout=120) as web:
        for row in (row for row in ROWS if row.rule != "instructions"):  # it needs vLLM's store: tests/clients has it
            alone, helped = row.seen(web, model, OFF), row.seen(web, model)
            if row.alone not in alone or row.right in alone:
                faults.append(f"{row.rule}: alone it says {alone[-600:]}")
            if row.right not in helped:
                faults.append(f"{row.rule}: helped it says {helped[-600:]}")
    assert not faults, "\n\n".join(faults)


@pytest.mark.real
def test_the_contracts_pass_through_untouched(session) -> None:
    """The survey of the Responses API and the calls of the endpoints' contracts: same bytes on, same chunks back."""
    from openai import OpenAI

    model = session.server.model
    with front_of(session.server.base_url) as (address, passages):
        Surface(address, model).table()
        client = OpenAI(base_url=address + "/v1", api_key="none", timeout=120, max_retries=0)
        ask = [{"role": "user", "content": "What is the weather in Paris?"}]
        tool = {"type": "function", "function": FUNCTION | {"name": "get_weather", "strict": True}}
        for stream in (False, True):
            for more in ({}, {"tools": [tool]}, {"tools": [tool], "tool_choice": "required"}):
                reply = client.chat.completions.create(
                    model=model, messages=ask, max_tokens=200, temperature=0, stream=stream, **more
                )
                list(reply) if stream else None
            reply = client.completions.create(model=model, prompt="The", max_tokens=4, temperature=0, stream=stream)
            list(reply) if stream else None
    same = [passage for passage in passages if not passage.touched]
    assert len(same) >= 35 and len(passages) - len(same) <= 5, "hosted tools, two efforts and the image alone need one"
    for passage in same:
        assert passage.came == passage.went_on, passage.path
        assert passage.back == passage.out, passage.path


class Stored:
    """vLLM's handler of the Responses API, as far as a continued conversation asks it."""

    def __init__(self, instructions: str | None = None, tools: tuple = ()):
        call = SimpleNamespace(type="function_call", call_id="call_1", name="get_weather")
        old = [SimpleNamespace(model_dump=lambda exclude_unset, tool=tool: tool) for tool in tools]
        before = SimpleNamespace(instructions=instructions, tools=old, reasoning=None, output=[call])
        self.response_store = {"resp_1": before}
        self.msg_store = {"resp_1": [self.message("system", "old"), self.message("user", "hi")]}

    @staticmethod
    def message(role: str, text: str) -> SimpleNamespace:
        told = {"role": role, "content": [{"type": "text", "text": text}]}
        return SimpleNamespace(author=SimpleNamespace(role=SimpleNamespace(value=role)), to_dict=lambda: told)


def test_an_item_of_an_earlier_answer_comes_back_by_its_id() -> None:
    stored = Stored()
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "get_weather", "arguments": "{}"}
    kept = SimpleNamespace(id="fc_1", model_dump=lambda exclude_none: dict(item))
    stored.response_store["resp_1"].output = [kept]
    ask = [{"type": "item_reference", "id": "fc_1"}, {"type": "item_reference", "id": "fc_9"}]
    body, change = changed(json.dumps({"input": ask}).encode(), RESPONSES, stored)
    assert body["input"] == [item] and "item_reference left out" in change.notes["returned-items"]


def test_what_a_tool_returned_to_anthropics_client_is_words_too() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "18"}, image]}
    body, change = changed(json.dumps({"messages": [{"role": "user", "content": [result]}]}).encode(), MESSAGES)
    told = body["messages"][0]["content"][0]["content"]
    assert [part["type"] for part in told] == ["text", "text"] and told[0]["text"] == "18" and change.notes["parts"]


@pytest.mark.parametrize("effort", ("low", "medium", "high", None))
def test_an_effort_that_harmony_has_is_let_through(effort: str | None) -> None:
    for path, body in ((CHAT, {"reasoning_effort": effort}), (RESPONSES, {"reasoning": {"effort": effort}})):
        assert not changed(json.dumps(body).encode(), path)[1].notes


def continued(serving: Stored, **more) -> tuple[dict, dict]:
    """The body of a request that goes on, and the notes about it."""
    body = {"previous_response_id": "resp_1", "input": "and now?", **more}
    new, change = changed(json.dumps(body).encode(), RESPONSES, serving)
    return new, change.notes


def test_a_conversation_goes_on_with_the_new_instructions() -> None:
    body, notes = continued(Stored("old"), instructions="new")
    assert notes and "previous_response_id" not in body and body["instructions"] == "new"
    assert [message["role"] for message in body["previous_input_messages"]] == ["user"]
    assert body["input"] == [{"role": "user", "content": "and now?"}]


def test_a_tools_output_keeps_its_name_when_the_history_is_sent_along() -> None:
    output = {"type": "function_call_output", "call_id": "call_1", "output": "18"}
    body, _ = continued(Stored(), instructions="new", input=[output])
    assert body["previous_input_messages"][-1]["author"] == {"role": "tool", "name": "functions.get_weather"}
    assert body["input"] == []


def test_a_conversation_that_asks_for_nothing_new_is_let_through() -> None:
    tool = {"type": "function", **FUNCTION}
    for serving, more in (
        (Stored("old"), {}),
        (Stored("old"), {"instructions": "old"}),
        (Stored(None, (tool,)), {"tools": [tool]}),
        (Stored(), {"previous_response_id": "resp_9", "instructions": "new"}),
    ):
        body, notes = continued(serving, **more)
        assert not notes and "previous_response_id" in body
