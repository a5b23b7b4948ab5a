"""From samples to scores, verdicts, tables, figures and records; the reference graders' known faults."""

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from helpers.errors import CookbookError, UsageError
from helpers.evals import EVALS, Plan
from helpers.evals.catalogue import EMBEDDED, find
from helpers.evals.estimate import estimate, rate, text
from helpers.evals.record import EvalRecord, load_records
from helpers.evals.result import Sample, interval_of, mean_and_error, result_of, verdict_of
from helpers.paths import ROOT

pytest_plugins = ["eval_stack"]

START = datetime(2026, 1, 1, tzinfo=UTC)


def sample(question: int, repeat: int, score: float, **changes) -> Sample:
    values = {
        "id": f"aime25-{question:03}",
        "repeat": repeat,
        "state": "ok",
        "score": score,
        "correct": "1",
        "extracted": "1",
        "answer": "\\boxed{1}",
        "doubt": "",
        "input_tokens": 50,
        "output_tokens": 100,
        "retries": 0,
        "cause": "",
        "seconds": 1.0,
        "finished": START + timedelta(seconds=repeat + 1),
    }
    return Sample(**values | changes)


def plan(**changes) -> Plan:
    values = {"target": "h100", "model": "gpt-oss-20b", "weights": "hub", "evals": ["aime25"], "efforts": ["low"]}
    return Plan(**values | changes)


def aime(right: int, repeats: int = 8) -> list[Sample]:
    """A full run in which the first `right` questions are always right, and one more every second time."""
    return [sample(q, r, float(q < right or (q == right and r % 2))) for r in range(repeats) for q in range(30)]


def test_the_score_and_its_error_over_repeats() -> None:
    result = result_of(aime(12), plan(), EVALS["aime25"], "low", reference=0.388, tolerance=0.05)
    assert result.score == pytest.approx((12 * 8 + 4) / 240)
    # One question that scatters as a coin: 0.25 * 8/7 / 8 is the variance of its mean, a thirtieth weighs it.
    assert result.stderr == pytest.approx((0.25 * 8 / 7 / 8) ** 0.5 / 30)
    assert result.verdict == "within" and result.interval[0] < result.score < result.interval[1]
    assert result.seconds == 9.0 - 1.0 and result.output_tok_s == 240 * 100 / 8.0


@pytest.mark.parametrize(("right", "verdict"), [(12, "within"), (8, "below"), (14, "above")])
def test_the_verdict_of_a_whole_run(right: int, verdict: str) -> None:
    assert result_of(aime(right), plan(), EVALS["aime25"], "low", 0.388, 0.05).verdict == verdict


def test_a_small_run_says_how_little_it_knows() -> None:
    small = plan(examples=5, repeats=1)
    samples = [sample(q, 0, float(q < 2)) for q in range(5)]
    result = result_of(samples, small, EVALS["aime25"], "low", 0.388, 0.05)
    assert result.verdict == "undecided" and result.interval[1] - result.interval[0] > 0.5
    perfect = [sample(q, 0, 1.0) for q in range(5)]
    result = result_of(perfect, small, EVALS["aime25"], "low", 0.388, 0.05)
    assert result.score == 1.0 and result.interval[0] < 0.6, "five of five are not certainty"
    assert result.verdict == "above"


def test_wilson_against_known_values() -> None:
    """20 of 20: the interval begins at n / (n + z^2)."""
    low, high = interval_of(1.0, 0.0, 20, 20, whole=False)
    assert low == pytest.approx(20 / (20 + 1.96**2)) and high == 1.0
    score, error = mean_and_error([sample(q, 0, float(q % 2)) for q in range(100)], whole=False)
    low, high = interval_of(score, error, 100, 100, whole=False)
    assert low == pytest.approx(0.4038, abs=2e-3) and high == pytest.approx(0.5962, abs=2e-3)


def test_repeats_that_agree_are_no_certainty() -> None:
    """A whole run without scatter had an interval of no width: [1, 1] of 16 questions."""
    always = [sample(q, r, float(q < 30)) for r in range(8) for q in range(30)]
    result = result_of(always, plan(), EVALS["aime25"], "low")
    assert result.stderr == 0 and result.interval == interval_of(1.0, 0.0, 30, 240, whole=False)
    assert result.interval[0] == pytest.approx(30 / (30 + 1.96**2)) and result.interval[1] == 1.0
    half = [sample(q, r, float(q < 15)) for r in range(8) for q in range(30)]
    low, high = result_of(half, plan(), EVALS["aime25"], "low").interval
    assert low < 0.4 and high > 0.6


@pytest.mark.parametrize(("right", "holds"), [((1, 31), True), ((0, 16), False), ((16, 32), False)])
def test_every_effort_s_score_lies_between_0_and_100_percent(tmp_path: Path, right: tuple, holds: bool) -> None:
    """Their sum used to be looked at: 0 % at one effort and 50 % at another passed."""
    from helpers.evals import contracts
    from helpers.evals.evaluation import samples_path

    evaluation = EVALS["nano-integer"]
    made, results = plan(model="gpt-oss-nano", evals=["nano-integer"], efforts=["low", "high"]), []
    for effort, count in zip(made.efforts, right, strict=True):
        samples = [
            sample(n % 16, n // 16, float(n < count), answer=f"\\boxed{{{1 if n < count else 2}}}") for n in range(32)
        ]
        path = samples_path(tmp_path, evaluation, effort)
        path.parent.mkdir()
        path.write_text("".join(s.model_dump_json() + "\n" for s in samples))
        results.append(result_of(samples, made, evaluation, effort))
    contract = contracts.scored("nano-integer", results, tmp_path)
    assert contract.passed is holds and contract.facts["recount"] == "✓", contract.faults


def test_what_is_asked_again_is_what_the_scorer_asks_again() -> None:
    from helpers.evals.result import UNANSWERED
    from helpers.instack.evals.client import TRANSPORT

    assert UNANSWERED == TRANSPORT


def test_scores_are_withheld() -> None:
    samples = aime(12)
    assert result_of(samples[:-1], plan(), EVALS["aime25"], "low").state == "incomplete"
    two = [
        s.model_copy(update={"state": "empty", "cause": "x"}) if s.id == "aime25-003" and s.repeat < 2 else s
        for s in samples
    ]
    assert result_of(two, plan(), EVALS["aime25"], "low").state == "scored", "2 of 240 are less than 1 %"
    three = [
        s.model_copy(update={"retries": 1, "cause": "x"}) if s.id == "aime25-003" and s.repeat < 3 else s
        for s in samples
    ]
    result = result_of(three, plan(), EVALS["aime25"], "low", 0.388, 0.05)
    assert result.state == "refused" and result.score is None and result.verdict == "refused"
    assert result.causes == {"retried": 3} and result.first_causes == {"retried": "x"}


def test_verdicts_without_a_reference() -> None:
    assert verdict_of(0.5, (0.4, 0.6), True, None, None) == "no reference"


# The reference library's graders, as they are


def graded(python: Path, grader: str, texts: list[str]) -> list[tuple[str, str]]:
    """(what the library reads, our doubt) for each text."""
    read = {"gpqa": "abcd_grader.extract_abcd", "aime25": "aime_eval.extract_boxed_text"}[grader]
    code = (
        "import json, sys; from helpers.instack.evals.reference import abcd_grader, aime_eval, doubt\n"
        f"print(json.dumps([[{read}(t), doubt({grader!r}, t)] for t in json.loads(sys.argv[1])]))"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([python, "-c", code, json.dumps(texts)], capture_output=True, text=True, env=env, check=True)
    return [tuple(pair) for pair in json.loads(done.stdout)]


@pytest.mark.real
def test_the_letter_grader_falls_back_to_the_first_character(scorer: Path) -> None:
    """An answer without a declared letter is read from its first character: noise that begins with A is an A."""
    texts = [
        "Alpha particles, I think.",
        "Because it is so.",
        "I cannot say.",
        "Answer: C",
        "The answer is (B).",
        "D",
        "**A**",
    ]
    assert graded(scorer, "gpqa", texts) == [
        ("A", "first_character"),
        ("B", "first_character"),
        ("I", "first_character"),
        ("C", ""),
        ("B", ""),
        ("D", ""),
        ("A", ""),
    ]


@pytest.mark.real
def test_the_integer_grader_loses_thousands(scorer: Path) -> None:
    texts = [r"\boxed{1,000}", r"\boxed{204}", "The result is 70.", "nothing", r"\boxed{3, 5}"]
    assert graded(scorer, "aime25", texts) == [
        ("000", "thousands_separator"),
        ("204", ""),
        ("70", "last_integer"),
        ("", ""),
        ("5", ""),
    ]


def test_doubts_are_reported_beside_an_unchanged_score() -> None:
    from helpers.evals.table import notes, row

    samples = aime(12)
    samples[0] = samples[0].model_copy(update={"doubt": "last_integer", "answer": "It is 1."})
    result = result_of(samples, plan(), EVALS["aime25"], "low", 0.388, 0.05)
    assert (
        result.score == pytest.approx(100 / 240) and result.doubts == {"last_integer": 1} and result.doubts_right == 1
    )
    assert row(result)["graders' doubts"] == "1 (1 right)" and "the last integer counted" in notes([result])[0]


# Data, plans, estimates


def test_the_embedded_set_is_the_generator_s_and_its_answers_are_right() -> None:
    import pandas as pd
    from eval_server import solve

    from nano.evaluation.embedded import files

    for name, content in files().items():
        assert (EMBEDDED / name).read_text() == content, f"{name}: run python -m nano.evaluation.embedded"
    questions = pd.concat([pd.read_json(EMBEDDED / f"nano-integer-{half}.jsonl", lines=True) for half in ("I", "II")])
    assert len(questions) == EVALS["nano-integer"].questions == len(set(questions["question"]))
    for _, row in questions.iterrows():
        assert solve(row["question"]) == f"\\boxed{{{row['answer']}}}"
    choices = pd.read_csv(EMBEDDED / "nano-choice.csv", dtype=str)
    assert len(choices) == EVALS["nano-choice"].questions
    for _, row in choices.iterrows():
        assert len({row[column] for column in choices.columns[1:]}) == 4, "four different options"


def test_plans_are_refused_with_every_fault() -> None:
    from helpers.runs.evaluation import checked_plan

    with pytest.raises(UsageError, match="paid API"):
        find("healthbench_hard")
    with pytest.raises(UsageError) as caught:
        checked_plan(target="cpu", model="gpt-oss-nano", weights="nano", evals=["gpqa"], efforts=["huge"], repeats=0)
    assert "efforts: given 'huge'" in str(caught.value) and "repeats: given 0" in str(caught.value)


def test_the_estimate_says_what_it_stands_on() -> None:
    lines = estimate(
        plan(target="b200", model="gpt-oss-120b", evals=["gpqa", "aime25"], efforts=["low", "high"]), gpus=8
    )
    assert [line.samples for line in lines] == [1584, 1584, 240, 240]
    assert all(line.seconds > 0 and line.tokens > line.samples for line in lines)
    assert "assumed" in lines[0].tokens_from and "InferenceMAX" in lines[0].rate_from


def test_a_speed_of_one_gpu_counts_at_the_load_that_each_gpu_will_have() -> None:
    """A sweep's point at 128 in flight on one GPU says nothing about eight that share 128."""
    asked = plan(target="h100", model="gpt-oss-120b", weights="hub", concurrency=128)
    (one, _), (eight, said) = rate(asked, 1), rate(asked, 8)
    assert one and eight and eight < 6 * one and "at 16 requests per GPU" in said


def test_a_deployment_without_a_known_speed_has_no_time() -> None:
    unknown = estimate(plan(target="a100", evals=["gpqa", "aime25"], efforts=["low", "high"]), gpus=8)
    assert all(line.seconds is None and "time unknown" in line.text() for line in unknown)
    assert text(unknown).splitlines()[-1].endswith("time unknown until it runs")


# Table, figure, record


def results() -> list:
    efforts = {"low": 12, "medium": 22, "high": 26}
    made = plan(efforts=list(efforts))
    return [result_of(aime(right), made, EVALS["aime25"], effort, 0.4, 0.05) for effort, right in efforts.items()]


def test_the_figure_draws_scores_references_and_tokens() -> None:
    from helpers.plots.evals import evals_figure

    drawn = evals_figure(results(), title="x")
    left, right = drawn.axes
    assert drawn.alt.startswith("x: score") and "aime25 medium: 75.0 %, 100 tokens" in drawn.alt
    assert left.get_ylabel().startswith("score (%)") and right.get_ylabel() == "output tokens per sample"
    assert [label.get_text() for label in left.get_xticklabels()] == ["low", "medium", "high"]
    lines = {line.get_label(): line for line in left.lines}
    assert list(lines["aime25, reference"].get_ydata()) == [40.0, 40.0, 40.0]
    assert list(right.lines[0].get_ydata()) == [100.0, 100.0, 100.0]
    for few in (results()[:1], [result_of([], plan(), EVALS["aime25"], "low")]):  # one effort is no curve
        with pytest.raises(CookbookError, match="no curve to draw"):
            evals_figure(few)


def record(**changes) -> EvalRecord:
    values = {
        "target": "h100",
        "model": "gpt-oss-20b",
        "weights": "hub",
        "settings": {},
        "versions": {"vllm": "0.32.0"},
        "machine": {"cpu": "x", "cores": 2, "memory_gib": 4.0},
        "commit": "x",
        "started": START,
        "finished": START + timedelta(hours=1),
        "results": [result.model_dump() for result in results()],
    }
    return EvalRecord(**values | changes)


def test_a_record_goes_to_disk_and_back(tmp_path: Path) -> None:
    path = tmp_path / "evals" / "h100" / record().name
    record().write(path)
    assert EvalRecord.read(path) == record() and load_records(tmp_path / "evals") == [record()]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"score": 1.2}, "not in 0-1"),
        ({"state": "refused"}, "refused with score"),
        ({"failures": 3}, "samples failed"),
        ({"samples": 200}, "200 of 240"),
        ({"interval": (0.0, 0.1)}, "outside its interval"),
        ({"output_tokens": 10}, "fewer output tokens"),
    ],
)
def test_a_record_of_a_false_score_is_refused(change: dict, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        record(results=[results()[0].model_dump() | change])


def test_the_committed_records_hold() -> None:
    kept = load_records()
    assert kept and all(item.target and item.versions["gpt-oss"] == "0.0.9" for item in kept)
    assert any(result.state == "scored" for item in kept for result in item.results)


def test_the_h100_profile_is_the_seed_s_deployment() -> None:
    from helpers.recipes import check_parameters, load_model, load_target
    from helpers.recipes.command.serve import serve_command

    target, model = load_target("h100"), load_model("gpt-oss-120b")
    values = {"model": "gpt-oss-120b", "profile": "evals", "tensor_parallel_size": 8}
    shell = serve_command(target, model, check_parameters(target, values), "openai/gpt-oss-120b", 8000).shell()
    for flags in (
        "--max-model-len 131072",
        "--max-num-batched-tokens 10240",
        "--max-num-seqs 128",
        "--gpu-memory-utilization 0.85",
        "--no-enable-prefix-caching",
        "--tensor-parallel-size 8",
    ):
        assert flags in shell
