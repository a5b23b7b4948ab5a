"""From samples to a result: the score with its error, the failures by cause, the verdict, or the refusal."""

import json
import math
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from helpers.evals.catalogue import Evaluation
from helpers.evals.plan import Plan

Z = 1.96  # of a 95 % interval
# never got an answer: asked again when a run goes on
UNANSWERED = ("bad_request", "http_error", "connection", "timeout")


class Sample(BaseModel):
    """One answered (or failed) sample, a line of samples.jsonl."""

    model_config = ConfigDict(extra="forbid")

    id: str
    repeat: int
    state: Literal["ok", "empty", "truncated", "bad_request", "http_error", "connection", "timeout", "stopped"]
    score: float
    correct: str
    extracted: str
    answer: str
    doubt: str
    input_tokens: int
    output_tokens: int
    retries: int
    cause: str
    seconds: float
    finished: datetime

    @property
    def failed(self) -> bool:
        """Counted against the 1 %: no answer, a cut-off one, or one that came only after a retry."""
        return self.state != "ok" or self.retries > 0

    @property
    def kind(self) -> str:
        return self.state if self.state != "ok" else "retried"


class Result(BaseModel):
    """One evaluation at one effort. `score` and `stderr` are None where no score may be given."""

    model_config = ConfigDict(extra="forbid")

    eval: str
    effort: str
    state: Literal["scored", "refused", "incomplete"]
    why: str = ""
    score: float | None
    stderr: float | None
    interval: tuple[float, float] | None  # 95 %
    samples: int  # completed
    planned: int
    questions: int
    of_questions: int
    repeats: int
    failures: int
    causes: dict[str, int]
    first_causes: dict[str, str]
    doubts: dict[str, int]  # answers that a known fault of the graders touches
    doubts_right: int  # of those, how many were counted as right
    input_tokens: int
    output_tokens: int
    seconds: float  # while requests were in flight
    reference: float | None
    tolerance: float | None
    verdict: str

    @property
    def tokens_per_sample(self) -> float:
        return self.output_tokens / self.samples if self.samples else 0.0

    @property
    def output_tok_s(self) -> float:
        return self.output_tokens / self.seconds if self.seconds else 0.0


def read_samples(path: Path) -> list[Sample]:
    """The samples on file, the last word of each; a half line (a run killed while writing) does not count."""
    samples: dict[tuple[str, int], Sample] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        try:
            sample = Sample.model_validate(json.loads(line))
        except ValueError:
            continue
        samples[sample.id, sample.repeat] = sample
    return list(samples.values())


def lost(samples: list[Sample], plan: Plan, evaluation: Evaluation) -> str:
    """Why going on cannot give a score any more, or '': what was answered stands, and too much of it failed."""
    failed = sum(sample.failed for sample in samples if sample.state not in UNANSWERED)
    if failed <= plan.allowed_failures(evaluation):
        return ""
    return f"{failed} answered samples failed, which are not asked again"


def mean_and_error(samples: list[Sample], whole: bool) -> tuple[float, float]:
    """The score and its standard error.

    Over all questions the error is that of the mean over repeats (what differs from run to run); over a
    part of them, or with one repeat, it is that of the mean over questions, which is larger.
    """
    score = sum(sample.score for sample in samples) / len(samples)
    by_question: dict[str, list[float]] = {}
    for sample in samples:
        by_question.setdefault(sample.id, []).append(sample.score)
    groups = list(by_question.values())
    if whole and all(len(scores) > 1 for scores in groups):
        # The repeats of each question scatter independently: pooling them over the questions says more than
        # the scatter of two or eight means would.
        return score, math.sqrt(sum(standard_error(scores) ** 2 for scores in groups)) / len(groups)
    return score, standard_error([sum(scores) / len(scores) for scores in groups])


def standard_error(values: list[float]) -> float:
    """Of the mean of independent values; one value alone says nothing about its error, so it is taken as 0 or 1."""
    count = len(values)
    mean = sum(values) / count
    if count == 1:
        return math.sqrt(max(mean * (1 - mean), 0.25))
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)


def interval_of(score: float, stderr: float, questions: int, samples: int, whole: bool) -> tuple[float, float]:
    """The 95 % interval. For a part of the questions Wilson's, with the samples that the error is worth:
    20 right of 20 then still leaves room. Repeats that agree do not make a certainty either: where they do not
    scatter at all, it is Wilson's over the questions."""
    if whole and stderr:
        return max(0.0, score - Z * stderr), min(1.0, score + Z * stderr)
    n = float(questions)
    if stderr:
        n = min(max(score * (1 - score) / stderr**2, 1.0), float(samples))
    centre = (score + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(score * (1 - score) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def verdict_of(
    score: float, interval: tuple[float, float], whole: bool, reference: float | None, tolerance: float | None
) -> str:
    """Within the tolerance or not; a smaller run may be too small to say."""
    if reference is None or tolerance is None:
        return "no reference"
    low, high = reference - tolerance, reference + tolerance
    least, most = (score, score) if whole else interval
    if low <= least and most <= high:
        return "within"
    if most < low:
        return "below"
    return "above" if least > high else "undecided"


def busy_seconds(samples: list[Sample]) -> float:
    """Seconds in which at least one request was in flight; the time between two parts of a run does not count."""
    spans = sorted((s.finished.timestamp() - s.seconds, s.finished.timestamp()) for s in samples)
    total, end = 0.0, -math.inf
    for begin, finish in spans:
        total += max(0.0, finish - max(begin, end))
        end = max(end, finish)
    return total


def result_of(
    samples: list[Sample],
    plan: Plan,
    evaluation: Evaluation,
    effort: str,
    reference: float | None = None,
    tolerance: float | None = None,
) -> Result:
    """The result of what is on file; the score is withheld where samples are missing or too many failed."""
    planned, failed = plan.samples_of(evaluation), [sample for sample in samples if sample.failed]
    causes = Counter(sample.kind for sample in failed)
    doubtful = [sample for sample in samples if sample.doubt]
    questions = plan.questions_of(evaluation)
    whole = questions == evaluation.questions
    state: Literal["scored", "refused", "incomplete"] = "scored"
    why, score, error, interval, verdict = "", None, None, None, ""
    if len(failed) > plan.allowed_failures(evaluation):
        told = ", ".join(f"{count} {kind}" for kind, count in causes.most_common())
        state, why = "refused", f"{len(failed)} of {planned} samples failed ({told}), more than 1 %"
    elif len(samples) < planned:
        state, why = "incomplete", f"{len(samples)} of {planned} samples are there"
    if state == "scored":
        score, error = mean_and_error(samples, whole)
        interval = interval_of(score, error, questions, planned, whole)
        verdict = verdict_of(score, interval, whole, reference, tolerance)
    return Result(
        eval=evaluation.name,
        effort=effort,
        state=state,
        why=why,
        score=score,
        stderr=error,
        interval=interval,
        samples=len(samples),
        planned=planned,
        questions=questions,
        of_questions=evaluation.questions,
        repeats=plan.repeats_of(evaluation),
        failures=len(failed),
        causes=dict(causes),
        first_causes={kind: next(s.cause for s in failed if s.kind == kind) for kind in causes},
        doubts=dict(Counter(sample.doubt for sample in doubtful)),
        doubts_right=sum(sample.score == 1 for sample in doubtful),
        input_tokens=sum(s.input_tokens for s in samples),
        output_tokens=sum(s.output_tokens for s in samples),
        seconds=round(busy_seconds(samples), 3),
        reference=reference,
        tolerance=tolerance,
        verdict=verdict or state,
    )
