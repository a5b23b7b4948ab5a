"""Which known limits of the recipes the installed vLLM still has: each limit's probe, run with the stack's interpreter."""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from helpers import paths
from helpers.errors import CookbookError
from helpers.recipes import load_target

PROBE_S = 600  # it imports vLLM, on cores that may be busy
STATES = {
    "ends": "still needed",
    "goes on": "no longer needed: the limit can leave the recipe",
    "unknown": "not known: `make drills` asks a server",
}


@dataclass(frozen=True)
class Probed:
    """What the probe of one limit found."""

    target: str
    limit: str
    vllm: str
    state: str  # a key of STATES
    said: str  # what the probe saw

    def line(self) -> str:
        """The finding on one line."""
        return f"{self.target}: {self.limit}: vLLM {self.vllm}: {STATES[self.state]} ({self.said})"


def probe(python: Path, target: str, limit: str, module: str) -> Probed:
    """Run one probe with `python`; `CookbookError` where it cannot be run."""
    words = [str(python), "-m", module, limit]
    try:
        done = subprocess.run(words, capture_output=True, text=True, cwd=paths.ROOT, timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        raise CookbookError(
            f"the probe of the known limit {limit} gave no answer within {PROBE_S} s",
            do="try again on a quieter machine",
        ) from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
        return Probed(target, limit, answer["vllm"], answer["state"], answer["said"])
    except (IndexError, ValueError, KeyError):
        last = [line for line in done.stderr.splitlines() if line.strip()]
        raise CookbookError(
            f"the probe of the known limit {limit} says nothing",
            why=last[-1] if last else f"exit code {done.returncode}",
            do=f"see that {paths.shown(python)} can import vllm",
        ) from None


def probed(names: Iterable[str], interpreter) -> list[Probed]:
    """Every limit with a probe of these targets, once for all targets of a stack; `interpreter(stack)` gives its Python.

    Where a target's own stack is not installed, the CPU's answers: the sources are the same.
    """
    asked: dict[tuple[Path, str, str], list[str]] = {}
    for name in names:
        target = load_target(name)
        for limit in target.known_limits:
            if limit.probe:
                asked.setdefault((_python(target.stack.install, interpreter), limit.id, limit.probe), []).append(name)
    return [probe(python, ", ".join(targets), limit, module) for (python, limit, module), targets in asked.items()]


def _python(stack: str, interpreter) -> Path:
    try:
        return interpreter(stack)
    except CookbookError:
        if stack == "cpu":
            raise
        return interpreter("cpu")
