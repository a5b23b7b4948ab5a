"""The clock of a start, held against a server of known latency: its first token comes after a known time."""

import sys
from pathlib import Path

import pytest

from benchmarks.startup_cost import result
from helpers.bench.startup import FIRST_REQUEST, Start, by_hand, phases, through_cookbook
from helpers.errors import CookbookError
from helpers.paths import ROOT
from helpers.plots.tuning import startup_figure
from helpers.server import free_port, leases, port_free

TTFT_S = 0.5


def command(port: int, ttft_s: float = TTFT_S, *more: str) -> list[str]:
    server = str(ROOT / "benchmarks" / "latency_server.py")
    return [sys.executable, server, "--port", str(port), "--ttft-ms", str(1e3 * ttft_s), *more]


@pytest.mark.parametrize("how", [by_hand, through_cookbook])
@pytest.mark.real
def test_the_first_request_takes_what_it_takes(how, tmp_path: Path) -> None:
    port = free_port()
    start = how(command(port), {}, port=port, log=tmp_path / "server.log", model="m")
    assert TTFT_S <= start.phases[FIRST_REQUEST] < TTFT_S + 0.4
    assert start.total >= start.phases["imports"] + TTFT_S and port_free(port)
    assert not [lease for lease in leases() if lease.port == port]


@pytest.mark.parametrize("how", [by_hand, through_cookbook])
@pytest.mark.real
def test_a_start_that_fails_says_why(how, tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(CookbookError, match="unrecognized arguments: --no-such-flag"):
        how(command(port, TTFT_S, "--no-such-flag"), {}, port=port, log=tmp_path / "server.log", model="m")
    port = free_port()
    with pytest.raises(CookbookError, match="the first request streamed nothing because status 500"):
        how(command(port, TTFT_S, "--fail-every", "1"), {}, port=port, log=tmp_path / "other.log", model="m")
    assert port_free(port)


def test_phases_add_up_to_the_whole() -> None:
    found = phases({"imports": 3.0, "weights": 1.0, "total": 4.0}, request=0.5, seconds=5.0)
    assert found == {"imports": 3.0, "weights": 1.0, FIRST_REQUEST: 0.5, "around": 0.5}
    assert Start("x", found).total == 5.0


@pytest.mark.parametrize(("ours", "reached"), [(50.9, True), (51.1, False)])
def test_the_bar_is_one_second_or_two_percent(ours: float, reached: bool) -> None:
    start = lambda seconds: Start("x", {"imports": seconds - 1, FIRST_REQUEST: 1.0})  # noqa: E731
    found = result([start(ours), start(60)], [start(50), start(70)], start(100), "0.32.0")
    assert found.values[0].reached is reached
    assert found.values[1].value == pytest.approx(ours / 50) and found.values[2].value == pytest.approx(ours / 100)


def test_one_bar_is_no_figure() -> None:
    one = ("cold", Start("x", {"imports": 3.0}))
    with pytest.raises(CookbookError, match="compares with nothing"):
        startup_figure([one])
    assert startup_figure([one, ("warm", Start("x", {"imports": 2.0, "weights": 1.0}))]).axes
