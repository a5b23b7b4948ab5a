"""Sandboxes for model-written Python, best first: bubblewrap, Pyodide in WebAssembly.

`choose()` probes this host and returns the best rung that works, with the reasons why better ones do not.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from helpers.errors import CookbookError, UsageError
from helpers.tools.sandbox.interpreter import Launch
from helpers.tools.sandbox.limits import CallOutcome, Limits

__all__ = ["CallOutcome", "Chosen", "Limits", "choose", "rungs"]


class Rung(Protocol):
    """One way to contain a program."""

    name: str
    slow_start: bool  # starting takes seconds: a spare interpreter is kept ready

    def describe(self) -> str:
        """One line for people: what contains the program."""

    def why_not(self) -> str:
        """Empty where it works here; else why not."""

    def launch(self, limits: Limits, data: Path | None = None, packages: Path | None = None) -> Launch:
        """How to start one interpreter."""


def rungs() -> dict[str, type[Rung]]:
    """Every safe rung by name, best first."""
    from helpers.tools.sandbox.bubblewrap import Bubblewrap
    from helpers.tools.sandbox.wasm import Wasm

    return {rung.name: rung for rung in (Bubblewrap, Wasm)}


@dataclass
class Chosen:
    """A rung that works here, and why each better one was passed over."""

    rung: Rung
    passed_over: dict[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """One line for people."""
        others = "".join(f"; not {name}: {why}" for name, why in self.passed_over.items())
        return self.rung.describe() + others


def choose(sandbox: str = "auto") -> Chosen:
    """The best rung that works here (`auto`), or the one that is asked for.

    `dangerously-unsandboxed` must be asked for by that name. Raises UsageError for a name that is none,
    CookbookError where nothing works: there is no silent fall to less than a sandbox.
    """
    if sandbox == "dangerously-unsandboxed":
        from helpers.tools.sandbox.dangerous import Unsandboxed

        return Chosen(Unsandboxed())
    known = rungs()
    if sandbox not in ("auto", *known):
        raise UsageError(
            f"no sandbox is called {sandbox!r}", do=f"choose auto, {', '.join(known)} or dangerously-unsandboxed"
        )
    passed: dict[str, str] = {}
    for name in known if sandbox == "auto" else [sandbox]:
        rung = known[name]()
        why_not = rung.why_not()
        if not why_not:
            return Chosen(rung, passed)
        passed[name] = why_not
    why = "; ".join(f"{name}: {reason}" for name, reason in passed.items())
    raise CookbookError("no sandbox works here", why=why, do="run `.venv/bin/python -m helpers.tools.setup`")
