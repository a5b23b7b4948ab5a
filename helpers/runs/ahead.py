"""Imports ahead of need: while vLLM starts, a notebook's kernel has nothing else to do."""

import contextlib
import importlib
import threading

# What the cells after the launch import for the first time.
LATER = (
    "openai",
    "helpers.checks.endpoints",
    "helpers.checks.streaming",
    "helpers.bench.sweep",
    "pandas",
    "helpers.plots.throughput",
)


def import_ahead(names: tuple[str, ...] = LATER) -> threading.Thread:
    """Import the modules in a thread; one that cannot be imported is left to the cell that needs it, which says why."""

    def work() -> None:
        for name in names:
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    thread = threading.Thread(target=work, name="imports ahead", daemon=True)
    thread.start()
    return thread
