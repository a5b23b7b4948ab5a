"""How many tokens and how long a run will take, told before it starts, with what the figure stands on."""

from dataclasses import dataclass

from helpers.evals.catalogue import Evaluation
from helpers.evals.plan import Plan
from helpers.evals.progress import minutes
from helpers.evals.record import load_records as load_eval_records
from helpers.records.anchors import load_anchors
from helpers.records.curves import load_records

# Output tokens per sample where no record tells: orders of magnitude for planning, never measured here. The only
# published one is that of AIME at high effort (over 20,000 per problem for gpt-oss-20b, the model card, section 2.6.1).
ASSUMED = {
    "gpqa": {"low": 1_000, "medium": 3_000, "high": 15_000},
    "aime25": {"low": 2_500, "medium": 9_000, "high": 25_000},
    "nano-choice": {"low": 40, "medium": 60, "high": 120},
    "nano-integer": {"low": 40, "medium": 60, "high": 120},
}


@dataclass(frozen=True)
class Estimate:
    """One evaluation at one effort: samples, output tokens, seconds (None: no rate is known) and their basis."""

    eval: str
    effort: str
    samples: int
    tokens: int
    seconds: float | None
    tokens_from: str
    rate_from: str

    def text(self) -> str:
        time = duration(self.seconds)
        return (
            f"{self.eval:<13} {self.effort:<7} {self.samples:>5} samples  ~{self.tokens:>11,} output tokens  {time}"
            f"  ({self.tokens_from}; {self.rate_from})"
        )


def tokens_per_sample(plan: Plan, evaluation: Evaluation, effort: str) -> tuple[float, str]:
    """From the newest record of the same model and settings, else assumed."""
    for record in reversed(load_eval_records()):
        for result in record.results:
            same = (record.model, result.eval, result.effort) == (plan.model, evaluation.name, effort)
            if same and result.samples:
                return result.tokens_per_sample, "tokens as recorded"
    return ASSUMED[evaluation.name][effort], "tokens assumed"


def rate(plan: Plan, gpus: int) -> tuple[float | None, str]:
    """Output tok/s of the whole deployment: recorded evaluations, recorded sweeps, published anchors, or unknown."""
    for record in reversed(load_eval_records()):
        if (record.target, record.model, record.weights) == (plan.target, plan.model, plan.weights):
            best = [result.output_tok_s for result in record.results if result.samples]
            if best:
                return sum(best) / len(best), "speed as recorded"
    points = [  # (output tok/s, requests in flight) per GPU, at no more requests per GPU than the run will have
        (point.output_tok_s_per_gpu, each)
        for record in load_records(plan.target)
        if record.model == plan.model
        for point in record.throughput
        if (each := point.concurrency * point.output_tok_s_per_gpu / point.output_tok_s) * gpus <= plan.concurrency
    ]
    if points:
        fastest, each = max(points)
        return fastest * gpus, f"speed of the recorded sweep at {each:.3g} requests per GPU"
    anchors = [
        anchor
        for anchor in load_anchors()
        if (anchor.model, anchor.hardware) == (plan.model, plan.target)
        and anchor.tensor_parallel <= gpus
        and anchor.concurrency
        and anchor.concurrency <= plan.concurrency
    ]
    if anchors:  # vLLM's before another engine's; one server, however many devices, at this load
        best = max(anchors, key=lambda a: (a.engine == "vLLM", a.output_tok_s_per_gpu * a.tensor_parallel))
        source = f"{best.source.split()[0]} for {best.label} at {best.concurrency} requests"
        return best.output_tok_s_per_gpu * best.tensor_parallel, f"speed published by {source}"
    return None, "no speed is on record"


def estimate(plan: Plan, gpus: int = 1) -> list[Estimate]:
    """One line per evaluation and effort, in the order of the run."""
    speed, rate_from = rate(plan, gpus)
    lines = []
    for evaluation, effort in plan.jobs:
        each, tokens_from = tokens_per_sample(plan, evaluation, effort)
        samples = plan.samples_of(evaluation)
        tokens = round(samples * each)
        seconds = tokens / speed if speed else None
        lines.append(Estimate(evaluation.name, effort, samples, tokens, seconds, tokens_from, rate_from))
    return lines


def duration(seconds: float | None) -> str:
    """`about 12 min`, or that it is not known."""
    return "time unknown until it runs" if seconds is None else f"about {minutes(seconds)}"


def text(estimates: list[Estimate]) -> str:
    """All lines and their sum."""
    tokens, seconds = sum(line.tokens for line in estimates), [line.seconds for line in estimates]
    total = duration(None if None in seconds else sum(seconds))
    return "\n".join([*(line.text() for line in estimates), f"in all ~{tokens:,} output tokens, {total}"])
