"""The contract of a conversation with tools: each promise of it can be broken, and is then named."""

import pytest

from helpers.checks.calls import conversation
from helpers.tools.trace import Trace

ASKED = {"role": "user", "content": "What is the weather in Paris?"}
CALL = {
    "role": "assistant",
    "tool_calls": [{"id": "1", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}],
}
TOLD = {"role": "tool", "tool_call_id": "1", "content": '{"temperature": 21}'}
ANSWER = {"role": "assistant", "content": "It is 21 degrees."}


def check(messages: list, functions: list[str], **more):
    return conversation(Trace.of(messages), functions, "21", "function.loop", **more)


def test_a_call_with_its_result_and_an_answer_keeps_it():
    found = check([ASKED, CALL, TOLD, ANSWER], ["get_weather"], arguments={"city": "Paris"})
    assert found.faults == ()
    assert found.line().endswith("✓ called get_weather · arguments as asked ✓ · results ✓ · answered ✓")
    assert check([ASKED, ANSWER], []).line().endswith("✓ called nothing · results ✓ · answered ✓")


@pytest.mark.parametrize(
    ("messages", "functions", "arguments", "fault"),
    [
        ([ASKED, CALL, TOLD, ANSWER], ["get_time"], None, "called is 'get_weather' instead of 'get_time'"),
        ([ASKED, CALL, TOLD, ANSWER], [], None, "called is 'get_weather' instead of 'nothing'"),
        ([ASKED, ANSWER], ["get_weather"], None, "called is 'nothing'"),
        ([ASKED, CALL, TOLD, ANSWER], ["get_weather"], {"city": "Rome"}, "instead of {'city': 'Rome'}"),
        ([ASKED, ANSWER], [], {"city": "Paris"}, "arguments as asked"),
        ([ASKED, CALL, ANSWER], ["get_weather"], None, "0 results for 1 calls"),
        ([ASKED, CALL, TOLD], ["get_weather"], None, "'21' is not in ''"),
    ],
)
def test_each_broken_promise_is_named(messages, functions, arguments, fault):
    assert any(fault in text for text in check(messages, functions, arguments=arguments).faults)
