"""Weights before the launch: fetched from the hub without what vLLM does not need, and checked to be whole."""

from helpers.machine.weights.checkpoint import CheckpointFacts, check_checkpoint
from helpers.machine.weights.hub import DownloadPlan, cached, fetch, plan

__all__ = ["CheckpointFacts", "DownloadPlan", "cached", "check_checkpoint", "fetch", "plan"]
