"""`cookbook connect`: configurations for a running server, whole and readable, and what a client will trip over."""

import json
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from maintain.clients.catalogue import filled, needs, program, programs

MODEL, CONTEXT = "gpt-oss-nano", 8192
PARSE = {"toml": tomllib.loads, "json": json.loads, "yaml": yaml.safe_load, "yml": yaml.safe_load}


@pytest.fixture
def address():
    """A server that has a model and refuses every question, as vLLM does to a namespace of tools."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.say(200, {"data": [{"id": MODEL, "max_model_len": CONTEXT}]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.say(400, {"error": {"message": "tool type 'namespace' is not supported.", "code": 400}})

        def say(self, status: int, answer: dict) -> None:
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_every_configuration_is_whole_for_a_server() -> None:
    for name, one in programs().items():
        assert one.limits and (one.files or one.env), name
        texts = [filled(text, "http://127.0.0.1:8000", MODEL, CONTEXT) for text in one.files.values()]
        assert not texts or any("http://127.0.0.1:8000" in whole for whole in texts), name
        assert one.install.partition(" ")[0] in ("npm", "pip"), name
        for place, whole in zip(one.files, texts, strict=True):
            assert MODEL in whole, name
            parse = PARSE.get(place.rpartition(".")[2])
            parse(whole) if parse else compile(whole, place, "exec")
        for line in (*one.env.values(), one.run, one.needs):
            filled(line, "http://127.0.0.1:8000", MODEL, CONTEXT)


def test_a_context_of_two_first_requests_is_compacted_and_a_smaller_one_is_not() -> None:
    """opencode compacts a history that never fits again and again, and answers nothing else."""
    text = program("opencode").files[".config/opencode/opencode.json"]
    found = [
        json.loads(filled(text, "http://127.0.0.1:8000", MODEL, context, 6304))["compaction"]["auto"]
        for context in (8192, 12_608, 131_072)
    ]
    assert found == [False, True, True]


def test_every_request_names_clients_that_there_are() -> None:
    assert {client for row in needs() for client in row.clients} <= set(programs())
    assert {row.rule for row in needs("codex")} >= {"tool-types", "tool-outputs", "returned-items"}


def test_the_configuration_is_printed_and_written_for_the_server(cli, address: str, tmp_path) -> None:
    done = cli("connect", "codex", "--base-url", address)
    assert done.returncode == 0 and f'base_url = "{address}/v1"' in done.stdout and "= 8192" in done.stdout
    done = cli("connect", "codex", "--base-url", f"{address}/v1", "--write", str(tmp_path))
    written = tomllib.loads((tmp_path / ".codex" / "config.toml").read_text())
    assert written["model_providers"]["vllm"]["base_url"] == f"{address}/v1"
    assert cli("connect", "codex", "--base-url", address, "--write", str(tmp_path)).returncode == 0, "the same again"
    (tmp_path / ".codex" / "config.toml").write_text("model = 'mine'")
    done = cli("connect", "codex", "--base-url", address, "--write", str(tmp_path))
    assert done.returncode == 2 and "says something else" in done.stderr
    assert (tmp_path / ".codex" / "config.toml").read_text() == "model = 'mine'"


def test_check_says_what_the_client_trips_over_and_the_way_around(cli, address: str) -> None:
    done = cli("connect", "codex", "--base-url", address, "--check")
    assert done.returncode == 1
    assert "✗ a namespace of tools" in done.stdout and "vllm-project/vllm#49493" in done.stdout
    assert "--middleware helpers.instack.compat.Compatibility" in done.stdout and "8,192 tokens" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("connect", "nobody", "--base-url", "http://127.0.0.1:9"), "there is no client 'nobody'"),
        (("connect", "codex", "--base-url", "http://127.0.0.1:9"), "serves no model"),
        (("connect", "codex", "--base-url", "http://me:secret@127.0.0.1:9"), "user name or password"),
        (("connect", "codex", "--base-url", "nonsense"), "serves no model"),
    ],
)
def test_bad_input_is_one_line(cli, words: tuple[str, ...], said: str) -> None:
    done = cli(*words)
    assert done.returncode in (1, 2) and said in done.stderr and "secret" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
