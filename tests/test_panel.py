"""The panel without a browser: what may be chosen, what a server says, how an answer grows, what records tell."""

import sys
import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import SimpleNamespace as Event

import pytest

from helpers.errors import CookbookError
from helpers.machine.preflight import Machine
from helpers.panel import chat, explorer, live
from helpers.panel.choice import FORMS, OFFERED, against, choice, offers, settled
from helpers.panel.look import html
from helpers.panel.serve import ServeTab
from helpers.panel.talk import get_weather
from helpers.paths import ROOT
from helpers.recipes import load_target, target_names
from helpers.tools.functions import Toolbox


@pytest.mark.parametrize("name", target_names())
def test_every_target_has_a_choice_and_reasons_for_the_rest(name: str) -> None:
    target = load_target(name)
    chosen = settled(target, {})
    found = choice(name, chosen)
    assert found.parameters.model == target.defaults.model and set(found.forms) == set(FORMS)
    for picker in OFFERED:
        offered = offers(target, chosen, picker)
        assert offered[chosen[picker]] == "", "what is chosen is on offer"
        for value, why in offered.items():
            assert why == against(target, (chosen if picker != "model" else {}) | {picker: value})


def test_an_impossible_value_says_why_and_gives_way() -> None:
    a100 = load_target("a100")
    assert (
        against(a100, {"model": "gpt-oss-120b", "profile": "throughput-fp8"})
        == f"allowed on a100: {', '.join(a100.serve.profiles)}"
    )
    assert "lacks" in against(load_target("rtx4090"), {"model": "gpt-oss-20b"}, memory_gib=13.0)
    kept = settled(a100, {"model": "gpt-oss-120b", "tensor_parallel_size": 4, "profile": "throughput-fp8"})
    assert kept["tensor_parallel_size"] == 4 and kept["profile"] == a100.defaults.profile


def test_the_command_is_the_command_lines_own(cli) -> None:
    chosen = settled(load_target("h200"), {"model": "gpt-oss-20b", "tensor_parallel_size": 2})
    for form, text in choice("h200", chosen).forms.items():
        words = ["command", "h200", "--model", "gpt-oss-20b", "--tensor-parallel-size", "2", "--format", form]
        assert cli(*words).stdout == text


def test_gauges_follow_the_counters() -> None:
    first = 'vllm:num_requests_running{engine="0"} 2.0\nvllm:generation_tokens_total{engine="0"} 100.0\n'
    first += "vllm:time_to_first_token_seconds_sum 1.0\nvllm:time_to_first_token_seconds_count 4\n"
    second = first.replace("100.0", "150.0").replace("sum 1.0", "sum 1.6").replace("count 4", "count 7")
    meter = live.Meter()
    assert meter.read(first, 10.0)["output tok/s"] == "0", "one page has no rate"
    now = meter.read(second + "vllm:kv_cache_usage_perc 0.25\n", 12.0)
    assert [*now.values()] == ["2", "0", "25.0%", "25", "200 ms"]
    restarted = meter.read("vllm:generation_tokens_total 3.0", 13.0)
    assert restarted["output tok/s"] == "0" and restarted["TTFT, mean"] == "–", (
        "a counter that fell was another server's"
    )
    assert "<b>200 ms</b>TTFT, mean" in html("gauges", now)


@pytest.fixture
def serve_tab(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServeTab]:
    """The first tab without a kernel, looking at no server."""
    monkeypatch.setattr(live, "leases", list)
    tab = ServeTab(Machine(cpu="a processor", cores=2, memory_gib=24.0))
    tab.ended.set()
    yield tab


def test_a_failed_launch_shows_what_the_doctor_reads(serve_tab: ServeTab, tmp_path: Path) -> None:
    log = sorted((ROOT / "tests" / "fixtures" / "doctor").glob("F*.log"))[0]
    (tmp_path / "server.log").write_bytes(log.read_bytes())
    serve_tab.failed("vLLM ended while starting", Event(tool_servers=None, folder=tmp_path))
    assert "vLLM ended while starting" in serve_tab.status.value
    assert log.stem in serve_tab.verdict.value and "fix" in serve_tab.verdict.value
    serve_tab.verdict.value, serve_tab.stopping = "", True
    serve_tab.failed("vLLM ended while starting", Event(tool_servers=None, folder=tmp_path))
    assert serve_tab.verdict.value == "", "whoever pressed Stop is told of no failure"


def test_another_target_can_be_rehearsed_and_another_model_brings_its_own_size(serve_tab: ServeTab) -> None:
    assert not serve_tab.buttons["Launch"].disabled and serve_tab.buttons["Stop"].disabled
    serve_tab.target.value = "h100"
    assert serve_tab.buttons["Launch"].disabled and "rehearse" in serve_tab.elsewhere.value
    serve_tab.rehearse.value = True
    assert not serve_tab.buttons["Launch"].disabled and serve_tab.parameters().rehearse
    serve_tab.pick("tensor_parallel_size", 8)
    serve_tab.pick("model", "gpt-oss-120b")
    assert serve_tab.chosen["tensor_parallel_size"] == load_target("h100").models["gpt-oss-120b"].default
    buttons = serve_tab.pickers["model"].buttons
    assert buttons["gpt-oss-120b"].description == "✓ gpt-oss-120b" and buttons["gpt-oss-nano"].disabled


def test_the_last_start_tells_how_long_the_next_takes() -> None:
    expected = live.expected_start("h200", "gpt-oss-120b", 1, "throughput")
    assert expected and expected > 10
    assert live.expected_start("h200", "gpt-oss-120b", 8, "latency") is None
    shown = html("phases", {"imports": 0.0, "weights": 12.0}, 20.0, expected)
    assert "✓ imports 12 s" in shown and "▸ weights 8 s" in shown and f"about {expected:.0f} s" in shown
    assert "no earlier start" in html("phases", {"imports": 0.0}, 1.0, None)


def events(*deltas: tuple[str, str], call: dict | None = None, tokens: int = 5):
    for kind, text in deltas:
        yield Event(type=f"response.{kind}.delta", delta=text)
    if call:
        item = Event(type="function_call", model_dump=lambda **_: call, **call)
        yield Event(type="response.output_item.done", item=item)
    usage = Event(output_tokens=tokens)
    yield Event(type="response.completed", response=Event(usage=usage, status="completed", output_messages=None))


class Stream:
    """What the SDK returns: an iterator that is a context."""

    def __init__(self, made):
        self.made = made

    def __enter__(self):
        return self.made

    def __exit__(self, *_):
        return None


class Client:
    """Answers from a list of streams; keeps what it was asked."""

    def __init__(self, *streams):
        self.streams, self.asked = list(streams), []
        self.responses = Event(create=self.create)

    def create(self, **request):
        self.asked.append({**request, "input": list(request["input"])})
        return Stream(self.streams.pop(0))


def add(a: int, b: int) -> dict:
    """Add two numbers."""
    return {"result": a + b}


def test_an_answer_grows_calls_its_function_and_knows_its_pace() -> None:
    call = {"name": "add", "arguments": '{"a": 17, "b": 25}', "call_id": "c1"}
    client = Client(
        events(("reasoning_text", "I "), ("reasoning_text", "add."), call=call, tokens=7),
        events(("output_text", "It is "), ("output_text", "42."), tokens=6),
    )
    asked = chat.Asked("gpt-oss-nano", "low", "Be brief.", Toolbox([add]))
    history = [{"role": "user", "content": "17 + 25?"}]
    *_, answer = chat.ask(client, asked, history, threading.Event())
    assert [step.kind for step in answer.steps] == ["reasoning", "call", "text"] and answer.text == "It is 42."
    assert answer.steps[1].result == '{"result":42}' and answer.tokens == 13 and answer.state == "done"
    assert answer.ttft_s is not None and "tok/s" in answer.pace and history == [{"role": "user", "content": "17 + 25?"}]
    assert client.asked[1]["input"][-1] == {"type": "function_call_output", "call_id": "c1", "output": '{"result":42}'}
    assert client.asked[0]["instructions"] == "Be brief." and client.asked[0]["reasoning"] == {"effort": "low"}
    page = html("answer", answer)
    assert page.count("<details>") == 1 and "called add" in page and "13 tokens" in page


def test_an_answer_can_be_stopped_and_an_endless_one_ends() -> None:
    stop = threading.Event()
    growing = chat.ask(Client(events(("output_text", "a"), ("output_text", "b"))), chat.Asked("m"), [], stop)
    assert next(growing).text == "a"
    stop.set()
    assert next(growing).state == "stopped"
    call = {"name": "add", "arguments": "{}", "call_id": "c"}
    endless = Client(*(events(call=call) for _ in range(chat.MAX_ROUNDS)))
    with pytest.raises(CookbookError, match="without answering"):
        list(chat.ask(endless, chat.Asked("m", toolbox=Toolbox([add])), [], threading.Event()))


def test_what_a_model_says_is_no_markup() -> None:
    answer = chat.Answer([chat.Stretch("text", "<script>alert(1)</script>"), chat.Stretch("call", "{}", "<b>", "<i>")])
    assert "<script>" not in html("answer", answer) and "<i>" not in html("answer", answer)


@pytest.mark.parametrize("functions", [None, [add], [get_weather, add]])
def test_the_shown_code_is_python_that_asks_the_same(
    functions: list | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    toolbox = Toolbox(functions) if functions else None
    source = chat.code(
        chat.Asked("gpt-oss-nano", "high", "Be brief.", toolbox), "http://127.0.0.1:8000", "What's 2 + 2?"
    )
    call = Event(type="function_call", name="add", arguments='{"a": 1, "b": 2}', call_id="c", model_dump=lambda **_: {})
    replies = [Event(output=[call], output_text=""), Event(output=[], output_text="It is 3.")]
    create = lambda **given: asked.append(given) or ([] if given.get("stream") else replies[len(asked) - 1])  # noqa: E731
    sdk = Event(responses=Event(create=create))
    monkeypatch.setitem(sys.modules, "openai", Event(OpenAI=lambda **_: sdk))
    asked: list = []
    exec(compile(source, "<cell>", "exec"), {})
    if functions:
        assert asked[-1]["input"][-1] == {"type": "function_call_output", "call_id": "c", "output": '{"result":3}'}
        assert asked[0]["tools"] == toolbox.response_schemas() and capsys.readouterr().out == "It is 3.\n"
    else:
        assert len(asked) == 1 and asked[0]["stream"]
    assert unescape(html("verbatim", source)).count(source.strip()) == 1, "shown as it runs, nothing masked"
    for part in ('base_url="http://127.0.0.1:8000/v1"', '"What\'s 2 + 2?"', "'effort': 'high'", "'Be brief.'"):
        assert part in source
    assert ("def add" in source) == bool(functions)


def test_the_explorer_finds_the_layout_for_a_speed() -> None:
    chosen = [s for s in explorer.speed_sources() if s.record.target == "h200" and s.record.model == "gpt-oss-120b"]
    lengths = explorer.lengths_of(chosen)[0]
    every = [p for s in chosen for p in s.points(lengths)]
    source, point = explorer.best(chosen, lengths, 50.0)
    assert point.tok_s_per_user >= 50 and point in source.points(lengths)
    assert not [p for p in every if p.tok_s_per_user >= 50 and p.output_tok_s_per_gpu > point.output_tok_s_per_gpu]
    assert explorer.best(chosen, lengths, 1e6) is None
    assert "vllm serve" in source.command() and "--max-num-batched-tokens" in source.command()
    rows = explorer.as_csv(chosen, lengths).splitlines()
    assert len(rows) == len(every) + 1 and rows[0].startswith("record,input_tokens,")


def test_differences_inside_the_noise_are_greyed() -> None:
    noise, better, worse = (explorer.Ratio(1, "tok/s", 100.0, value) for value in (101.9, 103.0, 90.0))
    assert noise.noise and not better.noise and better.better and not worse.better
    assert explorer.Ratio(1, "TPOT", 10.0, 9.0).better, "less latency is better"
    table = html("ratios", [noise, better, worse], explorer.NOISE)
    assert table.count("cb-noise") == 1 and "+3.0%" in table and "worse" in table
    same = explorer.speed_sources()[0]
    assert all(r.noise for r in explorer.compared(same, same, explorer.lengths_of([same])[0]))
