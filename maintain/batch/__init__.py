"""Batches: many runs from a plan, side by side where devices allow, resumable, with one table at the end."""

from maintain.batch.execute import BatchResult, run_batch
from maintain.batch.plan import BatchPlan, PlannedRun, load_plan

__all__ = ["BatchPlan", "BatchResult", "PlannedRun", "load_plan", "run_batch"]
