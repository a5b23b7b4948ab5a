"""Two lanes for the suite (`make test LANES=2` runs `pytest -n 2`): what shares the vLLM server in one, the rest beside it.

A start of vLLM keeps one of two cores busy and a waiting test none, so two lanes need little more than half the time.
"""

import ast
from functools import cache

import pytest

from helpers.paths import ROOT

SERVER = "the shared server"


@cache
def lane_of(file: str) -> str:
    """The group of a test file, absolute or relative to the checkout: one for all whose tests or fixtures ask for `server`."""
    functions = [n for n in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(n, ast.FunctionDef)]
    asking = (
        function.name.startswith("test_") or any("fixture" in ast.unparse(d) for d in function.decorator_list)
        for function in functions
        if "server" in [argument.arg for argument in function.args.args]
    )  # fmt: skip
    return SERVER if any(asking) else file


def of(item: pytest.Item) -> str:
    """The lane of a test."""
    return lane_of(str(item.path))  # whatever its id is relative to


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """The longest work first: what shares the server, then files with slow tests, then the others."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    return sorted(items, key=lambda item: (of(item) != SERVER, item.path not in slow))


def scheduler(config: pytest.Config, log):
    """xdist's scheduler by groups; its own option for groups does nothing with this version of pytest."""
    from xdist.scheduler import LoadScopeScheduling

    class Lanes(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return lane_of(nodeid.partition("::")[0])

    return Lanes(config, log)
