"""The quick gate against servers that answer wrongly on purpose: no score over failed requests, an end within a minute."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from eval_server import EvalServer

from helpers.checks.known_answers import questions, run_quick
from helpers.checks.pulse import Pulse
from helpers.errors import CookbookError

KNOWN = {ask: expect.split("|")[0] for ask, expect in questions()}
REAL = "gpt-oss-20b"
ENDED_S = 60  # the specification's: a dead server ends the run within a minute


def knowing(prompt: str, count: int) -> str:
    """The right answer; the preflight's own question is not among the known ones."""
    return f"It is {KNOWN.get(prompt, '4')}."


def some(what: str, every: int) -> Callable[[str, int], str]:
    """Right answers, but for one request in `every`, from the first after preflight's."""
    return lambda prompt, count: what if count and count % every == 1 else knowing(prompt, count)


def after(what: str, number: int) -> Callable[[str, int], str]:
    return lambda prompt, count: knowing(prompt, count) if count < number else what


def test_the_gate_lets_right_answers_pass() -> None:
    assert len(KNOWN) >= 40
    with EvalServer(knowing, model=REAL) as server:
        gate = run_quick(server.url, REAL)
    assert gate.passed and gate.contract().passed and gate.score == 1.0
    assert len(server.requests) == 2 * len(KNOWN) + 1, "and the one of preflight"


@pytest.mark.parametrize("noise", ["!" * 40, "the " * 60, "42"])
def test_the_gate_stops_gibberish(noise: str) -> None:
    with EvalServer(lambda prompt, count: noise, model=REAL) as server:
        gate = run_quick(server.url, REAL)
    assert not gate.passed and "needed" in gate.why() and not gate.contract().passed and gate.score is None
    with pytest.raises(CookbookError, match=r"answers are wrong.*--moe-backend"):
        gate.raise_if_failed()


def test_the_gate_sees_a_server_that_is_right_only_at_first() -> None:
    with EvalServer(after("!" * 13, len(KNOWN) + 1), model=REAL) as server:
        gate = run_quick(server.url, REAL)
    assert gate.share(0) == 1.0 and gate.share(1) == 0.0 and "round 2" in gate.why()


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("500", "HTTP 500"),
        ("400", "HTTP 400"),
        ("empty", "no answer"),
        ("truncated", "cut off"),
        ("garbage", "JSONDecodeError"),
        ("reset", "RemoteProtocolError"),
    ],
)
def test_failed_requests_give_no_score(what: str, cause: str) -> None:
    """One request in twenty fails and all others are right: 95 %, which the gate used to let pass."""
    with EvalServer(some(what, 20), model=REAL) as server:
        gate = run_quick(server.url, REAL)
    assert gate.causes == {cause: 5} and gate.share(0) >= 0.9 and gate.share(1) >= 0.9
    assert not gate.passed and gate.score is None and not gate.contract().passed
    assert f"5 of 100 requests got no readable answer (5 x {cause}), more than 1 %" in gate.why()
    with pytest.raises(CookbookError, match=r"gives no score.*server's log"):
        gate.raise_if_failed()


def test_gibberish_now_and_then_gives_no_score() -> None:
    with EvalServer(some("!" * 40, 20), model=REAL) as server:
        gate = run_quick(server.url, REAL)
    assert not gate.passed and gate.score is None and "5 of 100" in gate.why()
    with pytest.raises(CookbookError, match="answers are wrong"):
        gate.raise_if_failed()


def test_one_failure_in_a_hundred_leaves_the_score() -> None:
    with EvalServer(some("500", 1000), model=REAL) as server:
        gate = run_quick(server.url, REAL)
    assert gate.passed and gate.causes == {"HTTP 500": 1} and gate.score == pytest.approx(0.99)


def test_a_reply_without_usage_is_an_answer() -> None:
    import eval_server

    class NoUsage(eval_server.Handler):
        def say(self, value, status=200):
            if isinstance(value, dict) and len(server.requests) > 1:
                value.pop("usage", None)
            super().say(value, status)

    with EvalServer(knowing, model=REAL) as server:
        server.RequestHandlerClass = NoUsage
        gate = run_quick(server.url, REAL)
    assert gate.passed and gate.tokens == 0


@pytest.mark.parametrize(
    ("model", "answer", "said"),
    [
        ("gpt-oss-120b", knowing, "gpt-oss-120b is not served here"),
        (REAL, after("500", 0), "refused on purpose with 500"),
    ],
)
def test_the_gate_looks_first(model: str, answer, said: str) -> None:
    """A wrong name or a server that answers nothing is no matter of kernels, and a hundred requests tell no more."""
    with EvalServer(answer, model=REAL) as server, pytest.raises(CookbookError, match=said) as caught:
        run_quick(server.url, model)
    assert "the quick gate is not started" in str(caught.value) and len(server.requests) <= 1
    assert "--moe-backend" not in str(caught.value)


@pytest.mark.real
@pytest.mark.parametrize("first", [0, 31])
def test_a_server_that_hangs_ends_the_gate(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and in the middle of a round; patience is a fraction of what a user's server gets."""
    monkeypatch.setattr("helpers.checks.served.PROBE_S", 2.0)
    for limit in ("PATIENCE_S", "STALL_S", "QUIET_S", "PROBE_S", "EVERY_S"):
        monkeypatch.setattr(Pulse, limit, getattr(Pulse, limit) / 15)
    with EvalServer(after("hang", first), model=REAL) as server:
        began = time.monotonic()
        if first:
            gate = run_quick(server.url, REAL)
            assert gate.gone and not gate.passed and gate.score is None and gate.causes["the server is gone"] == 20
            with pytest.raises(CookbookError, match="could not be finished because the server is gone"):
                gate.raise_if_failed()
        else:
            with pytest.raises(CookbookError, match="one request because no answer within"):
                run_quick(server.url, REAL)
        assert time.monotonic() - began < ENDED_S / 4


def quick(cli, url: str, out: Path, *words: str):
    return cli(
        "eval", "cpu", "--model", "gpt-oss-nano", "--eval", "quick", "--base-url", url, "--json", str(out), *words
    )


def test_a_dead_server_is_one_line(cli, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = quick(cli, "http://127.0.0.1:9/v1", out)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and done.stderr.startswith("cookbook: ")
    assert "does not answer" in done.stderr and "start the server" in done.stderr
    assert "--moe-backend" not in done.stderr and not out.exists(), "no file claims a score"


def test_the_command_line_withholds_the_score(cli, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    with EvalServer(some("500", 20)) as server:
        done = quick(cli, server.url, out)
    (held,) = json.loads(out.read_text())
    assert done.returncode == 1 and held["score"] is None and held["failures"] == 5
    assert held["causes"] == {"HTTP 500": 5} and held["rounds"] == [] and "HTTP 500" in held["why"]
    assert done.stderr.count("\n") == 1 and "HTTP 500" in done.stderr


def test_a_dry_run_says_what_it_would_take(cli, tmp_path: Path) -> None:
    done = quick(cli, "http://127.0.0.1:9/v1", tmp_path / "out.json", "--dry-run")
    assert done.returncode == 0 and f"{len(KNOWN)} questions x 2 rounds" in done.stdout, done.stderr
    assert "output tokens" in done.stdout and "about" not in done.stdout, "no time that nobody measured"
