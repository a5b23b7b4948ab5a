"""A kill made small: which request of a batch it was, and the least of it that still ends the server."""

import contextlib
import time
from collections.abc import Callable

import hypothesis.internal.conjecture.engine as engine

from hunt.drawing.draw import bounded, mode_of, run, seed_of
from hunt.drawing.values import Strategy
from hunt.request import Request
from hunt.send import Outcome, sent
from hunt.state import State


class Shown(Exception):
    """A request showed again what is looked for."""


def kills(state: State, batch: list[Request]) -> bool:
    """Whether requests sent together end the server, which is started anew then."""
    outcomes = sent(state.served.base_url, batch, "together" if len(batch) > 1 else "alone")
    answered = all(0 < outcome.status < 500 for outcome in outcomes)
    if (answered and state.served.alive()) or not state.fault().startswith("kill"):
        return False
    state.served.stop()
    state.served.start()
    return True


def culprits(state: State, outcomes: list[Outcome], say: Callable[[str], None]) -> list[Request]:
    """The requests that end the server: one where one suffices, else those without an answer, fewer if fewer do it."""
    suspects = [outcome.request for outcome in outcomes if outcome.lost or outcome.status >= 500]
    first = next((place for place, outcome in enumerate(outcomes) if outcome.lost or outcome.status >= 500), 0)
    suspects = suspects[:20] or [outcome.request for outcome in outcomes[first : first + 20]]
    say(f"{len(suspects)} requests had no answer: each alone")
    for request in suspects:
        if kills(state, [request]):
            return [request]
    whole = [outcome.request for outcome in outcomes[max(0, first - 20) : first + 20]]
    group = suspects if kills(state, suspects) else whole if kills(state, whole) else []
    while len(group) > 1:  # halves, as long as one of them is enough
        half = len(group) // 2
        smaller = next((part for part in (group[:half], group[half:]) if kills(state, part)), None)
        if smaller is None:
            break
        group = smaller
    return group


def smallest(
    strategy: Strategy, seed: int, number: int, found: Request, still: Callable[[Request], bool], seconds: float
) -> Request:
    """What was found, as small as Hypothesis makes it in `seconds`: its batch is drawn again, and shrunk from it on.

    `still(request)` says whether a smaller one shows the same.
    """
    best, reached, deadline = found, False, time.monotonic() + seconds
    mode = mode_of(number)

    def look(request: Request) -> None:
        nonlocal best, reached
        request = bounded(request, mode)
        reached = reached or request == found
        if reached and time.monotonic() < deadline and still(request):
            best = request
            raise Shown

    before = engine.MAX_SHRINKING_SECONDS
    engine.MAX_SHRINKING_SECONDS = int(seconds)
    try:
        with contextlib.suppress(Exception, BaseExceptionGroup):  # Shown, or Flaky once the time is over
            run(strategy, seed_of(seed, number), look, shrink=True)
    finally:
        engine.MAX_SHRINKING_SECONDS = before
    return best
