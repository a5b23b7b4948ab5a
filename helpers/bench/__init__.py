"""Load, roofline and records: how fast it is, how fast it could be, and the proof."""

from helpers.bench.record import Contract, Machine, Percentiles, Point, RunRecord
from helpers.bench.sweep import Load, plan, sweep

__all__ = ["Contract", "Load", "Machine", "Percentiles", "Point", "RunRecord", "plan", "sweep"]
