"""What a waiting reader sees: samples done, time left, tokens per second, the running score, the failures."""

import sys
import time
from collections.abc import Callable
from typing import Any

from helpers.evals.plan import Plan
from helpers.progress import bar

EVERY_S = 30.0  # between lines where there is no terminal and no notebook to draw a bar in


class EvalProgress:
    """Follows the scorer's events; draws a bar per evaluation, or writes a line now and then."""

    def __init__(self, plan: Plan, write: Callable[[str], None] | None = None):
        self.plan, self.write, self.said = plan, write, 0.0
        self.bar: Any = None
        self.left = sum(plan.samples_of(evaluation) for evaluation, _ in plan.jobs)

    def take(self, event: dict[str, Any]) -> None:
        """One event of the scorer."""
        if event["event"] == "start":
            self._begin(event)
        elif event["event"] == "sample":
            self._add(event["sample"])
            self._show()
        elif event["event"] in ("done", "lost"):
            self._show(last=True)
            self.close()
            if event["event"] == "lost":
                self._say(f"{self.name}: ended early, {event['why']}")

    def _begin(self, event: dict[str, Any]) -> None:
        self.close()
        self.name, self.total, self.began = (f"{event['eval']} {event['effort']}", event["samples"], time.monotonic())
        self.said = self.began
        self.done = self.right = self.failed = self.tokens = 0
        for sample in event["known"]:
            self._add(sample)
        self.known, self.known_tokens = self.done, self.tokens
        drawn = None if self.write else bar(self.name, self.total, " samples", initial=self.known)
        self.bar = drawn if drawn is not None and not drawn.disable else None
        if self.known and self.bar is None:
            self._say(f"{self.name}: {self.known} of {self.total} samples are on file, going on")

    def _add(self, sample: dict[str, Any]) -> None:
        self.done += 1
        self.right += sample["score"] == 1
        self.failed += sample["state"] != "ok" or sample["retries"] > 0
        self.tokens += sample["output_tokens"]

    def text(self) -> str:
        """The line: what is done, the rate, the score so far, the time left."""
        seconds = max(time.monotonic() - self.began, 1e-3)
        new = self.done - self.known
        rate = (self.tokens - self.known_tokens) / seconds
        left = seconds / new * (self.total - self.done) if new else 0.0
        return (
            f"{self.name}: {self.done}/{self.total} · score so far {self.right / self.done:.1%} · {rate:,.0f} tok/s"
            f" · {self.failed} failed · {minutes(left)} left"
        )

    def _show(self, last: bool = False) -> None:
        if self.bar is not None:
            rate = (self.tokens - self.known_tokens) / max(time.monotonic() - self.began, 1e-3)
            self.bar.set_postfix_str(f"score {self.right / self.done:.1%}, {rate:,.0f} tok/s, {self.failed} failed")
            self.bar.update(self.done - self.bar.n)
        elif self.done and (last or time.monotonic() - self.said > EVERY_S):
            self._say(self.text())

    def _say(self, line: str) -> None:
        self.said = time.monotonic()
        out = sys.stdout if "ipykernel" in sys.modules else sys.stderr  # a notebook marks what is on stderr as a fault
        (self.write or (lambda text: print(text, file=out, flush=True)))(line)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def minutes(seconds: float) -> str:
    """A time to plan with: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
