"""Accuracy: the reference library's evaluations against a server, with failures counted and scores that can be refused."""

from helpers.evals.catalogue import EVALS, Evaluation
from helpers.evals.evaluation import evaluate
from helpers.evals.plan import Plan
from helpers.evals.preflight import preflight
from helpers.evals.result import Result

__all__ = ["EVALS", "Evaluation", "Plan", "Result", "evaluate", "preflight"]
