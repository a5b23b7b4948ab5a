"""Evaluations against servers that answer wrongly on purpose: no false score, nothing lost, an end within a minute."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from eval_server import EvalServer, solve

from helpers.errors import CookbookError, UsageError
from helpers.evals import Plan, Result, evaluate, preflight
from helpers.evals.catalogue import EVALS
from helpers.evals.evaluation import folder_for, summary
from helpers.evals.result import read_samples
from helpers.paths import ROOT

pytest_plugins = ["eval_stack"]

ENDED_S = 60  # the specification's: a dead server ends the run within a minute


def plan(**changes) -> Plan:
    values = {
        "target": "cpu",
        "model": "gpt-oss-nano",
        "weights": "nano",
        "evals": ["nano-integer"],
        "efforts": ["low"],
        "concurrency": 8,
    }
    return Plan(**values | changes)


def run(server: EvalServer, folder: Path, scorer: Path, **changes) -> list[Result]:
    return evaluate(server.url, plan(**changes), folder, scorer, progress=lambda line: None)


def sometimes(what: str, number: int):
    """The right answer, except for one request."""
    return lambda prompt, count: what if count == number else solve(prompt)


@pytest.mark.real
def test_right_answers_score_and_are_counted_independently(scorer: Path, tmp_path: Path) -> None:
    """The library's score against a count of our own over the answers on file, for both formats and samplers."""
    wrong_from = 20

    def answer(prompt: str, count: int) -> str:
        right = solve(prompt)
        wrong = "Answer: D" if right.startswith("A") else right.replace("{", "{1")
        return right if count % 32 < wrong_from else wrong

    for sampler in ("responses", "chat_completions"):
        with EvalServer(answer) as server:
            results = run(server, tmp_path / sampler, scorer, evals=["nano-choice", "nano-integer"], sampler=sampler)
        data = {"nano-choice": right_letters(scorer), "nano-integer": right_integers()}
        for result in results:
            samples = read_samples(tmp_path / sampler / f"{result.eval}-low" / "samples.jsonl")
            right = 0
            for sample in samples:
                given = re.fullmatch(r"Answer: ([A-D])|\\boxed\{(\d+)\}", sample.answer)
                key = (sample.id, sample.repeat) if result.eval == "nano-choice" else sample.id
                right += (given[1] or given[2]) == data[result.eval][key]
            assert result.state == "scored" and result.samples == len(samples) == 32
            assert result.score == pytest.approx(right / 32)
        assert all(0 < result.score < 1 for result in results)


def right_integers() -> dict[str, str]:
    """Computed from the questions, not read from the answers."""
    from helpers.evals.catalogue import EMBEDDED

    lines = [
        line for name in ("I", "II") for line in (EMBEDDED / f"nano-integer-{name}.jsonl").read_text().splitlines()
    ]
    return {f"nano-integer-{n:03}": solve(json.loads(line)["question"])[7:-1] for n, line in enumerate(lines)}


def right_letters(scorer: Path) -> dict[tuple[str, int], str]:
    """The letter of the right option in the library's own order of them."""
    code = (
        "import json, sys; from helpers.instack.evals.reference import ReferenceEvaluation\n"
        "e = ReferenceEvaluation('gpqa', {'gpqa_diamond.csv': 'recipes/evals/nano-choice.csv'}, 2)\n"
        "print(json.dumps([[f'nano-choice-{i % 16:03}', i // 16, 'ABCD'[x['permutation'].index(0)]]"
        " for i, x in enumerate(e.full.examples)]))"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    out = subprocess.run([scorer, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env, check=True).stdout
    return {(name, repeat): letter for name, repeat, letter in json.loads(out)}


@pytest.mark.parametrize(
    ("what", "state", "cause"),
    [
        ("400", "bad_request", "refused on purpose with 400"),
        ("404", "http_error", "refused on purpose with 404"),
        ("500", "http_error", "refused on purpose with 500"),
        ("empty", "empty", "the answer is empty"),
        ("truncated", "truncated", "max_output_tokens"),
    ],
)
@pytest.mark.full
def test_a_server_that_always_fails_gets_no_score(
    scorer: Path, tmp_path: Path, what: str, state: str, cause: str
) -> None:
    """The reference gives 0.0 and exit code 0 for the 400s, and never ends for the 404s and 500s."""
    with EvalServer(lambda prompt, count: what) as server:
        began = time.monotonic()
        (result,) = run(server, tmp_path, scorer)
    assert time.monotonic() - began < ENDED_S
    assert result.score is None and result.stderr is None and result.state == "refused"
    assert set(result.causes) == {state} and cause in result.first_causes[state]
    assert result.failures == result.causes[state] >= 10 and "more than 1 %" in result.why


@pytest.mark.parametrize("what", ["400", "404", "empty", "truncated", "500", "reset", "garbage"])
@pytest.mark.full
def test_one_failure_in_32_is_more_than_one_percent(scorer: Path, tmp_path: Path, what: str) -> None:
    with EvalServer(sometimes(what, 5)) as server:
        (result,) = run(server, tmp_path, scorer)
    assert result.state == "refused" and result.score is None and result.failures == 1
    retried = what in ("500", "reset", "garbage")
    assert (result.causes == {"retried": 1}) == retried
    assert result.samples == 32, "the others were asked all the same"


@pytest.mark.full
def test_failures_up_to_one_percent_leave_the_score(scorer: Path, tmp_path: Path) -> None:
    with EvalServer(sometimes("empty", 5)) as server:
        (result,) = run(server, tmp_path, scorer, repeats=7)  # 112 samples
    assert result.state == "scored" and result.failures == 1 and result.causes == {"empty": 1}
    assert result.score == pytest.approx(111 / 112), "the failed sample counts as wrong, as in the reference"


@pytest.mark.full
def test_a_server_that_dies_ends_the_run_within_a_minute_and_the_run_goes_on_later(
    scorer: Path, tmp_path: Path
) -> None:
    with EvalServer(sometimes("die", 20)) as server:
        began = time.monotonic()
        (result,) = run(server, tmp_path, scorer)
        port = server.server_address[1]
    assert time.monotonic() - began < ENDED_S
    # What the dead port refused may be on file as failed by then: those are asked again, too.
    assert result.score is None and 10 <= result.samples - result.failures < 32
    with EvalServer(lambda prompt, count: solve(prompt), port=port) as server:
        (result,) = run(server, tmp_path, scorer)
        assert 0 < len(server.requests) < 25, "only what had no answer is asked again"
    assert result.state == "scored" and result.score == 1.0 and result.samples == 32


@pytest.mark.full
def test_a_server_that_hangs_ends_the_run_within_a_minute(scorer: Path, tmp_path: Path) -> None:
    with EvalServer(lambda prompt, count: "hang") as server:
        began = time.monotonic()
        (result,) = run(server, tmp_path, scorer)
    assert time.monotonic() - began < ENDED_S
    assert result.state == "incomplete" and "the server is gone" in result.why and result.score is None


@pytest.mark.full
def test_a_killed_run_goes_on_and_gives_the_same_score(scorer: Path, tmp_path: Path) -> None:
    """SIGKILL between samples, a line torn in half, and the same settings: asked once each, same score as in one go."""

    answered, goes_on = 12, threading.Event()
    goes_on.set()

    def by_prompt(prompt: str, count: int) -> str:
        if count >= answered:
            goes_on.wait()
        return solve(prompt) if len(prompt) % 3 else solve(prompt).replace("{", "{1")

    with EvalServer(by_prompt) as server:
        (whole,) = run(server, tmp_path / "whole", scorer, concurrency=1)
        asked = len(server.requests)
        samples = tmp_path / "cut" / "nano-integer-low" / "samples.jsonl"
        code = (
            "import sys; from pathlib import Path; from helpers.evals import Plan, evaluate\n"
            "evaluate(sys.argv[1], Plan.model_validate_json(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))"
        )
        argv = [server.url, plan(concurrency=1).model_dump_json(), str(tmp_path / "cut"), str(scorer)]
        server.requests.clear()
        goes_on.clear()
        process = subprocess.Popen([sys.executable, "-c", code, *argv], cwd=ROOT, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not samples.exists() or samples.read_text().count("\n") < answered:
            assert time.monotonic() < deadline, "the run does not come so far"
            time.sleep(0.02)
        below = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert below and not psutil.wait_procs(below, timeout=30)[1], "the scorer ends with its owner"
        goes_on.set()
        done = samples.read_text()
        assert done.count("\n") == answered
        samples.write_text(done + '{"id": "nano-integer-0')
        server.requests.clear()
        (resumed,) = run(server, tmp_path / "cut", scorer, concurrency=1)
        assert len(server.requests) == 32 - answered
    assert asked == 32 and resumed.samples == 32
    assert 0 < whole.score < 1 and resumed.score == whole.score and resumed.stderr == whole.stderr
    lines = samples.read_text().splitlines()
    assert sum(line.startswith('{"id"') and line.endswith("}") for line in lines) == 32


@pytest.mark.full
def test_two_runs_in_one_folder_and_a_folder_of_other_settings_are_refused(scorer: Path, tmp_path: Path) -> None:
    with EvalServer(lambda prompt, count: time.sleep(0.1) or solve(prompt)) as server:
        first = threading.Thread(target=run, args=(server, tmp_path, scorer))
        first.start()
        while not (tmp_path / "request.json").exists():
            time.sleep(0.02)
        with pytest.raises(CookbookError, match="is in use"):
            run(server, tmp_path, scorer)
        first.join()
        with pytest.raises(UsageError, match="its temperature differs"):
            run(server, tmp_path, scorer, temperature=0.5)


def test_an_unfinished_run_is_found_and_a_finished_one_is_not(tmp_path: Path) -> None:
    from helpers.evals.evaluation import settings

    folder, goes_on = folder_for(plan(), "1", tmp_path)
    assert not goes_on
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps(settings(plan(), "1")))
    assert folder_for(plan(concurrency=3), "1", tmp_path) == (folder, True), "how fast does not matter"
    assert not folder_for(plan(), "2", tmp_path)[1], "another vLLM is another run"
    assert not folder_for(plan(repeats=1), "1", tmp_path)[1]
    assert not folder_for(plan(), "1", tmp_path, fresh=True)[1]
    (folder / "finished").touch()
    assert not folder_for(plan(), "1", tmp_path)[1]


def kept_run(folder: Path, state: str, retries: int = 0) -> None:
    """An unfinished run with one sample of that fate in each ten."""
    from helpers.evals.evaluation import samples_path, settings

    line = {
        "score": 0.0,
        "correct": "1",
        "extracted": "",
        "answer": "",
        "doubt": "",
        "input_tokens": 1,
        "output_tokens": 1,
        "cause": "x",
        "seconds": 1.0,
        "finished": "2026-01-01T00:00:00+00:00",
    }
    path = samples_path(folder, EVALS["nano-integer"], "low")
    path.parent.mkdir(parents=True)
    path.write_text(
        "".join(
            json.dumps(
                line
                | {
                    "id": f"nano-integer-{n:03}",
                    "repeat": 0,
                    "state": "ok" if n % 10 else state,
                    "retries": 0 if n % 10 else retries,
                }
            )
            + "\n"
            for n in range(16)
        )
    )
    (folder / "settings.json").write_text(json.dumps(settings(plan(), "1")))


@pytest.mark.parametrize(
    ("state", "retries", "goes_on"),
    [("empty", 0, False), ("truncated", 0, False), ("ok", 1, False), ("connection", 3, True), ("bad_request", 0, True)],
)
def test_a_refused_run_is_not_gone_on_with(tmp_path: Path, state: str, retries: int, goes_on: bool) -> None:
    """Its answers stand, so going on would refuse for ever; what never got an answer is asked again."""
    kept_run(tmp_path / "evals" / "20260101", state, retries)
    said = []
    folder, resumed = folder_for(plan(), "1", tmp_path, report=said.append)
    assert resumed is goes_on and (folder.name == "20260101") is goes_on
    assert ("not gone on with" in "".join(said)) is not goes_on


@pytest.mark.full
def test_a_refusal_that_is_on_file_says_how_to_begin_anew(scorer: Path, tmp_path: Path) -> None:
    with EvalServer(lambda prompt, count: "empty") as server:
        (first,) = run(server, tmp_path, scorer)
        (again,) = run(server, tmp_path, scorer)
    assert first.state == again.state == "refused"
    assert "--fresh" not in first.why and "begin anew with --fresh" in again.why


@pytest.mark.full
def test_a_smaller_run_is_a_part_of_the_whole_one(scorer: Path, tmp_path: Path) -> None:
    with EvalServer(lambda prompt, count: solve(prompt)) as server:
        (part,) = run(server, tmp_path / "part", scorer, evals=["nano-choice"], examples=5, repeats=1)
        asked = {body["input"][0]["content"] for body in server.requests}
        server.requests.clear()
        run(server, tmp_path / "whole", scorer, evals=["nano-choice"])
        assert len(asked) == 5 and asked < {body["input"][0]["content"] for body in server.requests}
    assert part.samples == part.planned == 5 and part.questions == 5 and part.of_questions == 16
    assert part.interval[1] - part.interval[0] > 0.3, "five questions say little"


@pytest.mark.real
def test_requests_carry_the_run_s_settings(scorer: Path, tmp_path: Path) -> None:
    with EvalServer(lambda prompt, count: solve(prompt)) as server:
        run(server, tmp_path, scorer, efforts=["high"], examples=1, repeats=1, temperature=0.7, max_tokens=99)
        (body,) = server.requests
    assert body["reasoning"] == {"effort": "high"} and body["model"] == "gpt-oss-nano"
    assert body["temperature"] == 0.7 and body["max_output_tokens"] == 99


@pytest.mark.full
def test_the_json_holds_what_was_promised(scorer: Path, tmp_path: Path) -> None:
    with EvalServer(lambda prompt, count: solve(prompt)) as server:
        asked = {"evals": ["nano-choice", "nano-integer"], "efforts": ["low", "high"], "examples": 2, "repeats": 1}
        results = run(server, tmp_path, scorer, **asked)
    held = summary(results)
    assert [(item["eval"], item["effort"]) for item in held] == [
        ("nano-choice", "low"),
        ("nano-choice", "high"),
        ("nano-integer", "low"),
        ("nano-integer", "high"),
    ]
    for item in held:
        assert {"eval", "effort", "score", "stderr", "samples", "failures"} <= set(item)
        assert 0 <= item["score"] <= 1 and item["samples"] == 2 and item["failures"] == 0


# Preflight


def failing(found) -> tuple[str, str]:
    bad = [finding for finding in found.findings if not finding.ok]
    assert len(bad) == 1 and bad[0].fix and not found.passed
    with pytest.raises(CookbookError, match="is not started"):
        found.raise_if_failed()
    return bad[0].name, bad[0].seen


def test_preflight_passes_and_says_what_it_saw() -> None:
    with EvalServer(lambda prompt, count: "4") as server:
        found = preflight(server.url, plan())
    assert found.passed and found.version == "0.0.0-test" and len(found.findings) == 4
    assert len(server.requests) == 1


def test_preflight_refuses_a_short_context_before_any_request(tmp_path: Path) -> None:
    """The reference's score of 0.0: 131,072 tokens asked of a server with less."""
    with EvalServer(lambda prompt, count: "4", length=32768) as server:
        found = preflight(server.url, plan(max_tokens=131072))
        name, seen = failing(found)
    assert name == "context" and "32,768" in seen and "131,072" in seen
    assert server.requests == []


def test_preflight_refuses_a_wrong_name_a_dead_server_and_a_refused_request() -> None:
    with EvalServer(lambda prompt, count: "400", model="gpt-oss-20b") as server:
        name, seen = failing(preflight(server.url, plan()))
        assert name == "model" and "gpt-oss-20b is" in seen
        name, seen = failing(preflight(server.url, plan(model="gpt-oss-20b")))
        assert name == "one request" and "refused on purpose with 400" in seen
        url = server.url
    name, seen = failing(preflight(url, plan()))
    assert name == "server" and "does not answer" in seen


def test_preflight_wants_the_data_first(tmp_path: Path) -> None:
    with EvalServer(lambda prompt, count: "4", length=None) as server:
        name, seen = failing(preflight(server.url, plan(evals=["gpqa"], data=str(tmp_path))))
        assert name == "data of gpqa" and "gpqa_diamond.csv is not in" in seen
        (tmp_path / "gpqa_diamond.csv").write_text("Question,Correct Answer\nWhat?,That\n")
        assert (
            "no column 'Incorrect Answer 1'"
            in failing(preflight(server.url, plan(evals=["gpqa"], data=str(tmp_path))))[1]
        )
        header = "Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n"
        (tmp_path / "gpqa_diamond.csv").write_text(header + "Q,a,b,c,d\n" * 197)
        assert "197 questions" in failing(preflight(server.url, plan(evals=["gpqa"], data=str(tmp_path))))[1]
        (tmp_path / "gpqa_diamond.csv").write_text(header + "Q,a,b,c,d\n" * 198)
        assert preflight(server.url, plan(evals=["gpqa"], data=str(tmp_path))).passed


def test_offline_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import httpx

    from helpers.evals import catalogue

    monkeypatch.setattr(catalogue, "FETCHED", tmp_path)
    monkeypatch.setattr(httpx, "get", lambda *args, **options: pytest.fail("something was fetched"))
    with EvalServer(lambda prompt, count: "4") as server:
        found = preflight(server.url, plan(evals=["aime25"], max_tokens=100), offline=True)
    assert "--offline" in failing(found)[1]


@pytest.mark.real
def test_the_scorer_never_fetches(scorer: Path, tmp_path: Path) -> None:
    """Even where a file vanished after preflight, the library's own download is not reached."""
    from helpers.evals.evaluation import _score

    with EvalServer(lambda prompt, count: solve(prompt)) as server:
        (tmp_path / "x").mkdir()
        error = _score(server.url, plan(evals=["gpqa"], data=str(tmp_path / "x")), tmp_path, scorer, lambda line: None)
        assert "gpqa_diamond.csv is not among the local files" in error and server.requests == []


@pytest.mark.real
def test_urls_are_those_that_the_library_reads(scorer: Path) -> None:
    for evaluation in (EVALS["gpqa"], EVALS["aime25"]):
        module = "gpqa_eval" if evaluation.name == "gpqa" else "aime_eval"
        code = f"from gpt_oss.evals import {module} as m; print(open(m.__file__).read())"
        text = subprocess.run([scorer, "-c", code], capture_output=True, text=True, check=True).stdout
        for name, place in evaluation.files.items():
            assert place + name.replace("diamond", "{variant}") in text
