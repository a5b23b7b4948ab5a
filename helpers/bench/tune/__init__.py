"""Tuning: the few flags that matter searched on real servers, every result a ratio to bare `vllm serve`.

from helpers.bench.tune import TuningPlan, Tuner
study = Tuner(TuningPlan("cpu", "throughput")).run()
"""

from helpers.bench.tune.choice import chosen, verdicts
from helpers.bench.tune.objective import Objective
from helpers.bench.tune.plan import TuningPlan
from helpers.bench.tune.study import Study, Trial
from helpers.bench.tune.tuner import Tuner

__all__ = ["Objective", "Study", "Trial", "Tuner", "TuningPlan", "chosen", "profile", "session", "table", "verdicts"]
