"""The live probes: pure judgement of replies, and a real HTTP server that answers wrongly on purpose.

The wrong answers cannot be had from vLLM on demand, so a small server of this test gives them; the probes against the
real server are in the shared-server tests.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from helpers.cli import application
from helpers.doctor.live import examine, gibberish, judge_answer
from helpers.errors import UsageError


@pytest.mark.parametrize(
    "text",
    [
        "!" * 40,
        "aaaaaaaaaaaaaaaa",
        "the the the the the the the the",
        "ok \ufffd\ufffd",
        "\x00\x01\x02\x03 abc",
        "a b c " * 60,
    ],
)
def test_gibberish(text):
    assert gibberish(text)


@pytest.mark.parametrize(
    "text", ["42", "The answer is 42.", "", "10000000", "yes, yes, yes", "def f():\n\treturn 1\n", "日本語の答え"]
)
def test_readable(text):
    assert gibberish(text) == ""


@pytest.mark.parametrize(
    ("message", "finish", "expected"),
    [
        ({"content": "42"}, "stop", ""),
        ({"content": None, "reasoning": "hm"}, "length", "F33"),
        ({"content": None, "reasoning": None}, "stop", "F34"),
        ({"content": "!" * 30}, "stop", "F35"),
    ],
)
def test_judge_answer(message, finish, expected):
    ok, seen, signature = judge_answer({"message": message, "finish_reason": finish}, 12)
    assert (ok, signature) == (expected == "", expected) and seen


class Wrong(BaseHTTPRequestHandler):
    """An OpenAI-shaped server whose faults are set on its server object."""

    def log_message(self, *_):
        pass

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/v1/models":
            self.reply(
                200, {"data": [{"id": name, "max_model_len": self.server.length} for name in self.server.models]}
            )
        else:
            self.reply(200 if self.server.store else 404, {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.count += 1
        if self.path == "/v1/responses":
            count = 5 if self.server.counts else 0
            self.reply(200, {"id": "r", "usage": {"input_tokens": count, "output_tokens": count}})
        elif "tools" in body and body.get("stream"):
            data = {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": self.server.arguments}}]}}]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\ndata: [DONE]\n\n")
        elif "tools" in body:
            call = [{"function": {"name": "get_weather", "arguments": "{}"}}] if self.server.calls else []
            self.reply(200, self.chat({"content": None if call else '{"city": "Paris"}', "tool_calls": call}))
        else:
            good = {"content": "42", self.server.field: "17 + 25"}
            bad = self.server.count > 2 and self.server.later
            self.reply(200, self.chat({"content": self.server.later} if bad else good))

    @staticmethod
    def chat(message):
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 7}}


@pytest.fixture
def wrong():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Wrong)
    server.length, server.store, server.counts, server.calls = 131072, True, True, True
    server.arguments, server.field, server.later, server.count = '{"city": "Paris"}', "reasoning", "", 0
    server.models = ["gpt-oss-20b"]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def found(server):
    report = examine(f"http://127.0.0.1:{server.server_port}/v1")
    return report, {probe.name: probe for probe in report.findings}


def test_a_sound_server_passes_every_probe(wrong):
    report, probes = found(wrong)
    assert report.exit_code == 0 and all(probe.ok for probe in probes.values()), report.text()
    assert len(probes) == 10


FAULTS = [
    ("length", 4096, "context for evals", "F25", 0),
    ("store", False, "stored answers", "F39", 0),
    ("counts", False, "usage", "", 0),
    ("calls", False, "tool calls", "F36", 0),
    ("arguments", '{"city": "Par', "streamed tool call", "F37", 0),
    ("field", "reasoning_content", "reasoning field", "F38", 0),
    ("later", "!" * 50, "answer, 4 at once", "F35", 1),
]


@pytest.mark.parametrize(("fault", "value", "name", "signature", "code"), FAULTS, ids=[f[0] for f in FAULTS])
def test_each_fault_is_found(wrong, fault, value, name, signature, code):
    setattr(wrong, fault, value)
    report, probes = found(wrong)
    assert probes[name].ok is False and probes[name].signature == signature
    assert report.exit_code == code and "✗ " + name in report.text()


def test_wrong_model_name_is_fatal(wrong):
    report = examine(f"http://127.0.0.1:{wrong.server_port}", model="120b-low")
    assert report.exit_code == 1 and report.findings[0].signature == "S3"


def test_nothing_there_is_unreadable_input(wrong):
    with pytest.raises(UsageError, match="no answer from"):
        examine("http://127.0.0.1:9", timeout=2)
    with pytest.raises(UsageError):
        examine("not an address")
    wrong.models = []
    with pytest.raises(UsageError, match="serves no model"):
        examine(f"http://127.0.0.1:{wrong.server_port}")
    outcome = CliRunner().invoke(application(), ["doctor", "--live", "http://127.0.0.1:9"])
    assert isinstance(outcome.exception, UsageError) and outcome.exception.exit_code == 2


def test_command(wrong):
    outcome = CliRunner().invoke(application(), ["doctor", "--live", f"http://127.0.0.1:{wrong.server_port}", "--json"])
    assert outcome.exit_code == 0 and json.loads(outcome.stdout)["fatal"] is False


@pytest.mark.real
def test_against_vllm(server):
    """On the real server: counts, names and the store are told as they are, and its short context is named."""
    report = examine(server.base_url)
    probes = {probe.name: probe for probe in report.findings}
    assert probes["usage"].ok and probes["model name"].ok, report.text()
    assert probes["stored answers"].ok and probes["context for evals"].ok is False
    answer = probes["answer, twice"]
    assert answer.ok or answer.signature in ("F33", "F35")
    assert probes["tool calls"].ok is not False or probes["tool calls"].signature == "F36"
