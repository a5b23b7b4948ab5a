"""The hunt on the suite's real server: its hundred nastiest requests, the known cases, and two minutes of it."""

import json

import pytest

from hunt.cases import cases
from hunt.chase import Hunt
from hunt.record import HUNDRED, NASTIEST
from hunt.request import Request
from hunt.send import sent
from hunt.served import Given
from hunt.state import State

HARMLESS = {name: case for name, case in cases().items() if case.kind in ("error", "schema", "silent")}
# Of the hunt of `make test-all`: two minutes on two idle cores, twice that beside another worker; `make fuzz` sends 10,000.
REQUESTS, SECONDS = 800, 240.0


@pytest.fixture
def state(server) -> State:
    """The shared server as the test finds it."""
    return State(Given(server.base_url, server.log), server.model)


@pytest.mark.real
def test_the_nastiest_requests_leave_the_server_as_it_was(state: State) -> None:
    """Twenty at once. What vLLM refuses it refuses again, what it answers it answers."""
    rows = [json.loads(line) for line in NASTIEST.read_text().splitlines()]
    assert len(rows) == HUNDRED and len({row["path"] for row in rows}) >= 6
    statuses = [row.pop("status") for row in rows]
    state.answer = state.asked()
    outcomes = sent(state.served.base_url, [Request(**row) for row in rows], "together")
    assert state.fault() == ""
    other = [
        (status, one.status, one.lost, one.request.line()[:200]) for status, one in zip(statuses, outcomes, strict=True)
    ]
    assert not [one for one in other if one[0] != one[1]]


@pytest.mark.real
@pytest.mark.parametrize("name", HARMLESS)
def test_the_page_says_what_this_vllm_does(state: State, name: str) -> None:
    """Where one fails, this vLLM does better: the file in recipes/requests/ can go."""
    outcomes = sent(state.served.base_url, [one.request() for one in HARMLESS[name].send], "alone")
    assert {outcome.status for outcome in outcomes} == {HARMLESS[name].status}, [
        outcome.text[:200] for outcome in outcomes
    ]


@pytest.mark.full
def test_a_short_hunt_ends_clean(state: State, tmp_path) -> None:
    done = Hunt(state, tmp_path, seed=2, say=lambda line: None).go(REQUESTS, SECONDS)
    assert done.clean, done.kills
    assert done.requests >= 300 and done.statuses["200"] > 0.2 * done.requests
