"""The hunt without a server: what is drawn, what is taken for a fault, how a find is made small, and the page of the cases."""

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import strategies as st

from helpers.errors import CookbookError, UsageError
from hunt import served as served_module
from hunt import state as state_module
from hunt.answers import findings, ignored
from hunt.chase import Hunt, Progress
from hunt.drawing import draw
from hunt.drawing.bodies import COMPLETION, LENGTHS, combined, overlaid
from hunt.drawing.draw import TOKENS, batch, bounded, requests, run
from hunt.record import keep_nastiest, nastiest, values
from hunt.request import Request, expanded, plain
from hunt.send import Outcome, sent
from hunt.served import GIB, Given, Guard, Ours
from hunt.smallest import smallest
from hunt.state import State

pytestmark = pytest.mark.real  # no server, and schemathesis takes seconds
OPERATION = {
    "requestBody": {
        "content": {"application/json": {"schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}}
    },
    "responses": {
        "200": {"description": "", "content": {"application/json": {"schema": {}}}},
        "400": {
            "description": "",
            "content": {"application/json": {"schema": {"type": "object", "required": ["error"]}}},
        },
    },
}
DESCRIPTION = json.dumps(
    {
        "openapi": "3.1.0",
        "info": {"title": "", "version": ""},
        "paths": {path: {"post": OPERATION} for path in ("/v1/completions", "/v1/chat/completions", "/tokenize")},
    }
)
NOTHING = json.dumps({"openapi": "3.1.0", "info": {"title": "", "version": ""}, "paths": {}})  # drawn in no time
GOOD = {"model": "m", "prompt": "x", "max_tokens": 4}


def outcome(
    status: int, text: str, path: str = "/v1/completions", body: object = None, kind: str = "application/json"
) -> Outcome:
    request = httpx.Request("POST", f"http://x{path}")
    reply = httpx.Response(status, text=text, headers={"content-type": kind}, request=request)
    reply.elapsed = timedelta(seconds=0.1)
    return Outcome(Request(path, GOOD if body is None else body), status, 0.1, kind, text, response=reply)


def kinds(one: Outcome) -> list[str]:
    return [finding.kind for finding in findings(one, DESCRIPTION)]


def test_the_same_seed_draws_the_same_requests_and_another_one_others() -> None:
    strategy = requests(DESCRIPTION, "m")
    first = batch(strategy, 7, 0)
    assert first == batch(strategy, 7, 0) != batch(strategy, 8, 0)
    assert len({request.path for request in first + batch(strategy, 7, 1)}) >= 6
    assert all(Request.of(request.line()) == request for request in first if "NaN" not in request.line())


def test_every_parameter_is_drawn_good_and_bad() -> None:
    seen: dict[str, set[str]] = {}

    def look(body: dict) -> None:
        for name, value in body.items():
            seen.setdefault(name, set()).add(str(value))

    for seed in range(8):
        run(combined("m")["/v1/completions"], seed, look)
    assert not COMPLETION.keys() - seen.keys()
    numbers = set().union(*(seen[name] for name in ("temperature", "top_p", "min_p", "n", "top_k", "seed")))
    assert "0" in numbers and numbers & {"nan", "inf", "-inf", "1e+300", str(2**63), "-1"}


def test_answers_are_short_unless_their_client_goes_away() -> None:
    long = Request("/v1/completions", {"max_tokens": 8_000, "n": 100})
    assert bounded(long, "alone").body == {"max_tokens": TOKENS, "n": 16}
    assert bounded(long, "cancelled").body == {"max_tokens": 8_000, "n": 16}
    assert bounded(Request("/v1/responses", {"input": "x"}), "alone").body["max_output_tokens"] == TOKENS
    refused = Request("/v1/completions", {"max_tokens": float("inf"), "n": 10**9})
    assert bounded(refused, "alone").body["n"] == 10**9, "what vLLM refuses is sent as it is"


def test_a_short_form_is_written_out_and_bytes_are_kept() -> None:
    assert expanded({"a": [{"$repeat": ["x", 3]}]}) == {"a": ["xxx"]}
    assert Request("/x", plain(b"\xff\x00")).content() == b"\xff\x00" and Request("/x").content() is None
    assert b"NaN" in Request("/x", {"top_p": float("nan")}).content()


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        (outcome(500, '{"error": {}}'), ["error", "schema"]),  # 500 is not in this description
        (outcome(400, '{"error": {}}'), []),
        (outcome(400, '{"detail": "x"}'), ["schema"]),
        (outcome(404, "", "/v1/embeddings"), []),
        (outcome(200, "{}", "/tokenize"), []),
        (outcome(200, '{"choices": 7}'), ["schema"]),
        (Outcome(Request("/tokenize", {}), 0, 60.0, lost="no answer within 60 s"), ["hang"]),
        (Outcome(Request("/tokenize", {}), 0, 0.2, cancelled=True), []),
        (outcome(200, 'data: {"error": {"message": "x"}}\n\n', kind="text/event-stream"), ["schema"]),
    ],
)
def test_what_is_wrong_with_an_answer(one: Outcome, wanted: list[str]) -> None:
    assert kinds(one) == wanted


def choice(**fields: object) -> str:
    message = {"role": "assistant", "content": fields.pop("content", "x")}
    return json.dumps(
        {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"} | fields],
            "usage": {"completion_tokens": 3},
        }
    )


@pytest.mark.parametrize(
    ("body", "text", "word"),
    [
        ({"n": 2}, choice(), "1 choices instead of 2"),
        ({"max_tokens": 2}, choice(), "3 tokens instead of at most 2"),
        ({"logprobs": True}, choice(logprobs=None), "logprobs"),
        ({"stop": ["x"]}, choice(), "stop string"),
        ({"tool_choice": "required"}, choice(), "tool call"),
        ({"response_format": {"type": "json_object"}}, choice(), "JSON"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, choice(), "no text"),
    ],
)
def test_what_a_good_answer_left_out(body: dict, text: str, word: str) -> None:
    one = outcome(200, text, "/v1/chat/completions", body)
    assert [said for said in ignored(body, one) if word in said]
    assert not list(ignored({"max_tokens": 4}, outcome(200, choice(), "/v1/chat/completions")))


def test_a_find_is_made_as_small_as_it_gets() -> None:
    """Of a request with six parameters, two suffice: the library leaves those, at their simplest."""
    base = {"model": st.just("m"), "prompt": st.text(max_size=30)} | LENGTHS
    strategy = overlaid(base, COMPLETION).map(lambda body: Request("/v1/completions", body))
    harms = lambda request: {"seed", "n"} <= set(request.body)  # noqa: E731
    number = next(n for n in range(50) if any(map(harms, batch(strategy, 5, n))))
    found = next(filter(harms, batch(strategy, 5, number)))
    least = smallest(strategy, 5, number, found, harms, 20)
    assert harms(least) and set(least.body) == {"model", "prompt", "max_tokens", "seed", "n"}
    assert least.body["prompt"] == "" and least.body["seed"] == 0
    assert smallest(strategy, 5, number, found, lambda request: False, 5) == found, "what shows no more stays as it was"


class Fake(http.server.BaseHTTPRequestHandler):
    """A server that can be ill: `server.left` requests in the engine, `server.answer` to the known question."""

    def do_GET(self) -> None:
        self._say(
            200,
            f'vllm:num_requests_running{{engine="0"}} {self.server.left}.0\n' if self.path == "/metrics" else NOTHING,
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
            return self._say(401, '{"error": {}}')
        if self.path != "/v1/chat/completions" or body.get("messages") != state_module.QUESTION["messages"]:
            return self._say(self.server.other, '{"error": {}}')
        message = {"role": "assistant", "content": self.server.answer}
        self._say(200, json.dumps({"choices": [{"message": message}], "usage": {"completion_tokens": 1}}))

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    server.left, server.answer, server.key, server.other = 0, "4", "", 400
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def state_of(fake: http.server.ThreadingHTTPServer) -> State:
    return State(Given(f"http://127.0.0.1:{fake.server_port}"), "m").begin()


def test_a_server_that_is_not_as_before_is_seen(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "LEFT_S", 0.1)
    state = state_of(fake)
    assert state.fault() == ""
    fake.left = 2
    assert state.fault().startswith("hang: 2 requests are left")
    fake.left, fake.answer = 0, "5"
    assert state.fault().startswith("ill: the known question is answered '|5'")
    fake.answer = "4"
    held = iter([1.0] * 10 + [2.9, 3.1])
    monkeypatch.setattr(Given, "memory_gib", lambda self: next(held))
    state.memory_gib = []
    assert [state.fault()[:4] for _ in range(12)] == [""] * 11 + ["leak"]
    fake.shutdown()
    fake.server_close()
    assert state.fault().startswith("kill: ")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of twelve."""
    monkeypatch.setattr(draw, "SIZE", 12)


def test_a_hunt_goes_on_where_it_stopped(fake, small, tmp_path) -> None:
    hunt = lambda: Hunt(state_of(fake), tmp_path / "hunt", seed=2, say=lambda line: None)  # noqa: E731
    first = hunt().go(20, 60)
    assert first.clean and first.batches == 2 and first.modes.keys() == {"alone", "together"}
    second = hunt().go(30, 60)
    assert second.batches == 3 and second.requests >= 30 and set(second.modes) == {"alone", "together", "cancelled"}
    lines = (tmp_path / "hunt" / "outcomes.jsonl").read_text().splitlines()
    assert len(lines) == second.requests == sum(second.statuses.values())
    assert next(value for value in values(second, bare=False) if value.name == "kills").reached


def test_a_server_with_a_key_is_asked_with_it_and_one_that_refuses_is_named(fake, small, tmp_path, monkeypatch) -> None:
    fake.key = "canary"
    with pytest.raises(CookbookError, match=r"does not answer a question to m because .*401.*VLLM_API_KEY"):
        state_of(fake)
    monkeypatch.setenv("VLLM_API_KEY", "canary")
    done = Hunt(state_of(fake), tmp_path / "hunt", seed=2, say=lambda line: None).go(12, 60)
    assert done.clean and "401" not in done.statuses
    assert not [file for file in (tmp_path / "hunt").iterdir() if "canary" in file.read_text()]


def test_random_weights_may_answer_anything(fake) -> None:
    state = State(Given(f"http://127.0.0.1:{fake.server_port}"), "m", random=True).begin()
    fake.answer = "another"
    assert state.fault() == ""


def test_a_kill_ends_the_hunt_and_is_kept(fake, small, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    hunt = Hunt(state_of(fake), tmp_path / "hunt", seed=2, say=lambda line: None)
    monkeypatch.setattr(State, "fault", lambda self: "kill: RuntimeError")
    fake.other = 500
    done = hunt.go(500, 60)
    assert done.batches == 1 and not done.clean
    kept = json.loads((tmp_path / "hunt" / "progress.json").read_text())
    assert kept["kills"][0]["fault"] == "kill: RuntimeError"
    assert kept["kills"][0]["requests"], "those that failed, where the server cannot be started anew"
    assert not next(value for value in values(Progress(**kept), bare=False) if value.name == "kills").reached


def test_a_client_that_goes_away_is_no_fault(fake) -> None:
    (one,) = sent(f"http://127.0.0.1:{fake.server_port}", [Request("/health", None, "GET")], "alone")
    assert one.status == 200 and not one.lost
    (gone,) = sent("http://127.0.0.1:9", [Request("/health", None, "GET")], "alone")
    assert gone.status == 0 and "ConnectError" in gone.lost


def test_a_server_that_takes_too_much_memory_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(served_module, "_resident", lambda pid: 9 * GIB)
    monkeypatch.setattr(served_module, "end_group", lambda *_, **__: ended.set())
    monkeypatch.setattr(Guard, "EVERY_S", 0.01)
    ours = Ours("http://127.0.0.1:9")
    ours.server = type("", (), {"members": lambda self: [1], "lease": type("", (), {"server": None})})()
    guard = Guard(ours, 8.0)
    assert ended.wait(5) and guard.end() == 9.0
    assert "9.0 GiB" in ours.said()


def test_the_nastiest_are_the_rarest_and_quick() -> None:
    row = {
        "path": "/x",
        "method": "POST",
        "body": {},
        "seconds": 0.1,
        "cancelled": False,
        "findings": [],
        "said": "",
        "status": 200,
    }
    common, rare = [row] * 50, row | {"status": 400, "said": "no"}
    slow, bad = row | {"seconds": 9.0, "status": 404}, row | {"findings": ["error"], "status": 500}
    assert nastiest([*common, slow, rare, bad])[:2] == [bad, rare]
    assert slow not in nastiest([slow, rare])


def test_the_nastiest_are_kept_as_requests_that_can_be_sent_again(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no hunt"):
        keep_nastiest(tmp_path)
    said = {"seconds": 0.1, "cancelled": False, "findings": [], "said": "", "status": 200}
    row = {"path": "/v1/completions", "method": "POST", "body": {"prompt": "x"}} | said
    (tmp_path / "outcomes.jsonl").write_text(json.dumps(row) + "\n")
    kept = json.loads(keep_nastiest(tmp_path, tmp_path / "kept.jsonl").read_text())
    assert kept.pop("status") == 200 and Request(**kept) == Request("/v1/completions", {"prompt": "x"})
