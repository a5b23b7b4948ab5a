"""What an evaluation promises, as lines that never vary between runs."""

import re
from pathlib import Path

from helpers.checks.contract import Contract, Facts
from helpers.checks.served import Preflight
from helpers.evals.catalogue import EVALS
from helpers.evals.evaluation import samples_path
from helpers.evals.result import Result, Sample, read_samples

GROUP = "accuracy"


def preflight_passes(found: Preflight) -> Contract:
    """Every finding holds."""
    facts = Facts()
    for finding in found.findings:
        facts.need(finding.name, bool(finding.ok), finding.seen)
    return facts.contract("evals.preflight", GROUP)


def preflight_refuses(found: Preflight, name: str) -> Contract:
    """Exactly this finding fails."""
    facts = Facts()
    facts.same("refused for", ", ".join(finding.name for finding in found.findings if not finding.ok), name)
    return facts.contract("evals.refused", GROUP)


def recount(samples: list[Sample], grader: str) -> int:
    """Right answers by a reading of our own, simpler than the library's: the last letter, or the last number."""
    pattern = r"\b([A-D])\b" if grader == "gpqa" else r"(\d+)"
    found = [(re.findall(pattern, sample.answer), sample.correct) for sample in samples]
    return sum(bool(given) and given[-1].lstrip("0") == correct.lstrip("0") for given, correct in found)


def scored(name: str, results: list[Result], folder: Path) -> Contract:
    """One evaluation over its efforts: every sample is there, few failed, each score is what a count of our own
    gives, and none is 0 or 100 % (a run in which nothing was asked, or everything was told)."""
    facts, own = Facts(), [result for result in results if result.eval == name]
    facts.need("whole", all(r.samples == r.planned for r in own), "samples are missing")
    facts.need("failures <= 1 %", all(r.state == "scored" for r in own), "; ".join(r.why for r in own if r.why))
    same, extreme = True, []
    for result in own:
        samples = read_samples(samples_path(folder, EVALS[name], result.effort))
        count = recount(samples, EVALS[name].grader)
        same = same and result.score is not None and abs(result.score * result.samples - count) < 1e-6
        if not 0 < count < len(samples):
            extreme.append(f"{result.effort}: {count} of {len(samples)} are right")
    facts.need("recount", same, "a count of our own gives another score")
    facts.need("between 0 and 100 %", bool(own) and not extreme, "; ".join(extreme))
    return facts.contract(f"evals.{name}", GROUP)


def resumed(before: list[Result], after: list[Result], asked: int) -> Contract:
    """A run that is started again asks nothing that is on file and gives the same scores."""
    facts = Facts()
    facts.same("asked again", asked, 0)
    facts.need("same scores", [r.score for r in before] == [r.score for r in after], "the scores differ")
    return facts.contract("evals.resumed", GROUP)
