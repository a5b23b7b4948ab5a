"""Batches: one papermill run after another from a plan, resumable, with one table at the end."""

from helpers.runs.batch.execute import BatchResult, run_batch
from helpers.runs.batch.plan import BatchPlan, PlannedRun, load_plan

__all__ = ["BatchPlan", "BatchResult", "PlannedRun", "load_plan", "run_batch"]
