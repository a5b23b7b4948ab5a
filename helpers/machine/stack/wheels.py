"""Installing a serving environment from the wheel index that recipes/stacks.yaml names."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from helpers.errors import CookbookError
from helpers.recipes.stacks import IndexedStack

Run = Callable[[list[str], str, dict[str, str]], None]  # argv, what it does, environment


def arguments(stack: IndexedStack) -> list[str]:
    """The words after `uv pip install`."""
    words = [stack.requirement, "--index-strategy", stack.strategy]
    for index in stack.indexes:
        words += ["--extra-index-url", index]
    return words


def install(name: str, stack: IndexedStack, folder: Path, uv: str, env: dict[str, str], run: Run) -> None:
    """Make the environment `folder` and see that what arrived is a build for this hardware.

    Another Python would silently get PyPI's CUDA build, so the one that the wheels exist for is required.
    """
    found = subprocess.run(
        [uv, "python", "find", "--no-python-downloads", "--no-project", "--system", stack.python],
        capture_output=True,
        text=True,
        env={key: value for key, value in env.items() if key != "VIRTUAL_ENV"},
    )
    if found.returncode:
        raise CookbookError(
            f"the stack {name} needs Python {stack.python}",
            why="its wheels exist for no other, and this machine has none",
            do=f"install Python {stack.python}, or use the image (`cookbook command TARGET --format docker`)",
        )
    run(
        [uv, "venv", "--quiet", "--clear", "--python", found.stdout.strip(), str(folder)],
        "creating the environment",
        env,
    )
    run([uv, "pip", "install", "--quiet", *arguments(stack)], f"installing {stack.requirement} for {name}", env)
    code = f"import torch; print({stack.proof} or '')"
    seen = subprocess.run([str(folder / "bin" / "python"), "-c", code], capture_output=True, text=True)
    if seen.returncode or not seen.stdout.strip():
        raise CookbookError(
            f"what was installed is no build for {name}",
            why=f"{stack.proof} is not set in its torch",
            do=f"see which versions {stack.indexes[0]} holds and set `requirement` in recipes/stacks.yaml",
        )
