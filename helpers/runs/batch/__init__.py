"""Batches: one papermill run after another from a plan, resumable, with one table at the end."""

from helpers.runs.batch.execute import Result, run_batch
from helpers.runs.batch.plan import Plan, Planned, load_plan

__all__ = ["Plan", "Planned", "Result", "load_plan", "run_batch"]
