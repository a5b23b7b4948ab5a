"""Tuning: the few flags that matter searched on real servers, every result a ratio to bare `vllm serve`.

from helpers.tune import Plan, Tuner
study = Tuner(Plan("cpu", "throughput")).run()
"""

from helpers.tune import profile, session, table
from helpers.tune.choice import chosen, verdicts
from helpers.tune.objective import Objective
from helpers.tune.plan import Plan
from helpers.tune.study import Study, Trial
from helpers.tune.tuner import Tuner

__all__ = [
    "Objective",
    "Plan",
    "Study",
    "Trial",
    "Tuner",
    "chosen",
    "profile",
    "session",
    "table",
    "verdicts",
]
