"""Limits on time, asked of a machine that another lane of the tests may keep busy."""

import time
from collections.abc import Callable


def least_seconds(do: Callable[[], object], tries: int = 3) -> float:
    """The least wall time of some tries: what the work takes once nothing disturbs it."""
    taken = []
    for _ in range(tries):
        began = time.perf_counter()
        do()
        taken.append(time.perf_counter() - began)
    return min(taken)
