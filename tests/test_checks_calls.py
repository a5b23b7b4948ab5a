"""The contract of a conversation with tools: each promise of it can be broken, and is then named."""

import json
from types import SimpleNamespace

import pytest

from helpers.checks.calls import conversation
from helpers.checks.endpoints import completion, structured
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


def asks(city: str, **more) -> dict:
    arguments = json.dumps({"city": city, **more})
    call = {"id": "1", "function": {"name": "get_weather", "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call]}


@pytest.mark.parametrize(
    "messages",
    [
        [ASKED, asks("Paris", unit="celsius"), TOLD, ANSWER],
        [ASKED, asks("Paris, France"), TOLD, ANSWER],
        [ASKED, asks("paris"), TOLD, asks("Paris", unit="fahrenheit"), TOLD, ANSWER],
    ],
    ids=["an optional argument", "a longer value", "a second look"],
)
def test_what_a_full_model_may_do_differently_keeps_it(messages):
    """Right answers of gpt-oss that gpt-oss-nano does not give."""
    assert check(messages, ["get_weather"], arguments={"city": "Paris"}).passed


def test_two_calls_that_are_wanted_are_two_calls():
    assert not check([ASKED, CALL, TOLD, ANSWER], ["get_weather", "get_weather"]).passed


def test_a_model_that_knows_the_answer_shows_nothing_of_the_tool():
    """It is neither a fault of the server nor a proof of its tools: no record may claim it."""
    found = check([ASKED, ANSWER], ["python"], must_call=False)
    assert not found.passed and not found.faults and "skipped: the model answered without the tool" in found.line()
    assert check([ASKED, CALL, TOLD], ["get_weather"], must_call=False).faults, "called, and then no answer"


def person(content: str) -> SimpleNamespace:
    message = SimpleNamespace(content=content, reasoning="Read the sentence.")
    return SimpleNamespace(choices=[SimpleNamespace(finish_reason="stop", message=message)])


@pytest.mark.parametrize(
    ("content", "passes"),
    [
        ('{"name": "Alice", "age": 30, "city": "Paris"}', True),
        ('{"name": "Alice", "age": 30, "city": "Paris, France"}', True),
        ('{"name": "Alice", "age": 31, "city": "Paris"}', False),
        ('{"name": "Alice", "city": "Paris"}', False),
        ('{"name": "Alice", "age": 30, "city": "Paris", "job": "cook"}', False),
        ("Alice is 30.", False),
    ],
)
def test_structured_output_is_the_schemas_fields_with_the_prompts_values(content, passes):
    assert structured(person(content), {"name": "Alice", "age": 30, "city": "Paris"}).passed == passes


def test_a_full_model_may_end_a_completion_before_the_limit():
    def reply(finish: str) -> SimpleNamespace:
        choice = SimpleNamespace(finish_reason=finish, text=" Paris.")
        usage = SimpleNamespace(prompt_tokens=5, completion_tokens=2)
        return SimpleNamespace(object="text_completion", choices=[choice], usage=usage)

    assert completion(reply("length")).passed and completion(reply("stop")).passed
    assert "finish is 'abort' instead of 'length' or 'stop'" in completion(reply("abort")).faults
