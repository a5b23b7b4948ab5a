"""The Python that holds vLLM for a run, and what it holds."""

from pathlib import Path

from helpers.errors import CookbookError
from helpers.machine import facts
from helpers.paths import shown


def serving_stack(stack: str, install: str = "stack") -> tuple[Path, dict[str, str]]:
    """The interpreter and its versions: the pinned environment, installed unless it is there, or the existing one."""
    from helpers.machine.preflight.software import existing_python
    from helpers.machine.stack import ensure

    existing = install == "existing"
    interpreter = existing_python() if existing else ensure(stack)
    versions = facts.versions(interpreter)
    if "vllm" not in versions:
        raise CookbookError(
            f"{shown(interpreter)} holds no vLLM",
            do="use install=stack, or set COOKBOOK_PYTHON to the Python that has it",
        )
    return interpreter, versions
