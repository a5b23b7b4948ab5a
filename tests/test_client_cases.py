"""The cases that public reports name: what is seen of an answer, and a table that leaves nothing without a way around."""

import pytest

from helpers.recipes import load_target
from maintain.clients import cases

CHAT = {"choices": [{"finish_reason": "stop", "message": {"content": "Paris", "tool_calls": []}}]}
CALL = {"index": 0, "function": {"name": "get_weather", "arguments": '{"city": '}}
STREAMED = [
    {"choices": [{"delta": {"content": "", "tool_calls": [CALL]}}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '"Paris"}'}}]}}]},
    {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
]
ITEM = {"type": "function_call", "name": "get_weather", "arguments": '{"city": "Paris"}'}
RESPONSE = {"object": "response", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
MESSAGES = [
    {"type": "message_start", "message": {"content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "I look."}},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "name": "get_weather", "input": {}},
    },
    {
        "type": "content_block_delta",
        "index": 1,
        "delta": {"type": "input_json_delta", "partial_json": '{"city": "Paris"}'},
    },
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
]


def test_every_form_of_an_answer_is_read() -> None:
    chat, streamed = cases.read(200, [CHAT]), cases.read(200, STREAMED)
    assert (chat.text, chat.finish, chat.empty, chat.calls) == ("Paris", "stop", True, {})
    assert streamed.calls == {0: ["get_weather", '{"city": "Paris"}']} and streamed.finish == "tool_calls"
    response = cases.read(200, [RESPONSE | {"output": [ITEM]}])
    assert list(response.calls.values()) == [["get_weather", '{"city": "Paris"}']]
    assert response.finish == "max_output_tokens"
    message = cases.read(200, MESSAGES)
    assert (message.text, message.finish) == ("I look.", "tool_use")
    assert list(message.calls.values()) == [["get_weather", '{"city": "Paris"}']]
    assert cases.read(200, [STREAMED[0], {"error": {"message": "no", "code": 400}}]).status == 400


@pytest.mark.parametrize(
    ("told", "right", "fault"),
    [
        ([CHAT], {"says": "Paris"}, ""),
        ([CHAT], {"says": "Rome"}, "another answer"),
        ([CHAT], {"no_list": True}, "`tool_calls` is an empty list"),
        ([CHAT], {"called": ["get_weather"]}, "no call"),
        ([CHAT], {"fits": ["name"]}, "an answer that does not fit"),
        ([CHAT], {"finish": ["length"]}, "ends with stop"),
        (STREAMED, {"called": ["get_weather"], "fields": ["city"], "names": ["get_weather"]}, ""),
        (STREAMED, {"called": ["get_weather"], "fields": ["place"]}, "arguments that do not fit"),
        (STREAMED[:1], {"called": ["get_weather"], "fields": ["city"]}, "arguments that do not fit"),
        (STREAMED, {"names": ["add"]}, "a call of a tool that was not offered"),
        (STREAMED, {"prompt": ["namespace"]}, "`namespace` is not in the prompt"),
        (STREAMED, {"unprompted": ["the prompt"]}, "`the prompt` is in the prompt"),
        ([{"error": {"code": 404}}], {}, "refused (404)"),
    ],
)
def test_what_is_not_right_is_named(told: list[dict], right: dict, fault: str) -> None:
    assert cases.fault(cases.read(200, told), "the prompt", right) == fault


def test_ids_of_the_answer_before_are_filled_in() -> None:
    body = {"previous_response_id": "$id", "input": [{"call_id": "$call_id", "output": "$ 5"}]}
    filled = {"previous_response_id": "resp_1", "input": [{"call_id": "call_1", "output": "$ 5"}]}
    assert cases._with(body, {"$id": "resp_1", "$call_id": "call_1"}) == filled


def test_the_table_has_every_case_and_a_way_around_where_one_is_needed() -> None:
    found, rows = cases.seen(), cases.cases()
    assert list(found) == [row.what for row in rows] and len(rows) >= 31
    assert cases.version() == str(load_target("cpu").stack.vllm), "write the table anew for this vLLM"
    assert all(row.instead for row in rows if found[row.what] != (cases.RIGHT, cases.RIGHT))
    assert all(row.reports and all("#" in one for one in row.reports) for row in rows)
