"""Load, roofline and steps: how fast it is, and how fast it could be."""

from helpers.bench.sweep import Load, plan, sweep

__all__ = ["Load", "plan", "sweep"]
