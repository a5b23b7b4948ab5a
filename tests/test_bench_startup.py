"""The clock of a start, held against a server of known latency: its first token comes after a known time."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import start_phases
from benchmarks.startup_cost import result
from helpers.errors import CookbookError
from helpers.paths import ROOT
from helpers.processes import Identity, cpu_seconds, group_members
from helpers.server import end_group, free_port, leases, port_free
from maintain.studies.startup import FIRST_REQUEST, Start, by_hand, phases, through_cookbook
from maintain.studies.tuning import startup_figure

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
    drawn = startup_figure([one, ("warm", Start("x", {"imports": 2.0, "weights": 1.0}))])
    assert drawn.axes and drawn.alt.endswith("warm: imports 2, weights 1")


@pytest.mark.real
def test_the_cpu_time_of_a_start_is_that_of_its_whole_group(tmp_path: Path) -> None:
    inner = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.5: pass\ntime.sleep(60)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    process = subprocess.Popen([sys.executable, "-c", outer], start_new_session=True)
    group = Identity.of(process.pid)
    try:
        deadline = time.monotonic() + 30
        while cpu_seconds(group_members(group)) < 0.5 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert 0.5 <= cpu_seconds(group_members(group)) < 2.0
    finally:
        end_group(group)
        process.wait()
    assert cpu_seconds(group_members(group)) == 0.0


def test_the_phases_are_medians_and_the_bar_is_thirty_seconds() -> None:
    def starts(*seconds: float) -> list[Start]:
        return [Start("x", {"imports": s, FIRST_REQUEST: 1.0, "around": 0.5}, cpu_s=s + 1) for s in seconds]

    names = ["as it is", "without all of it", "without bytecode"]
    found = start_phases.result(dict(zip(names, [starts(20, 90, 31), starts(60), starts(40)], strict=True)), "0.32.0")
    by_name = {value.name: value for value in found.values}
    assert by_name["launch to ready, as it is"].value == 31 and by_name["launch to ready, as it is"].reached is False
    assert by_name["CPU time of all processes, without all of it"].value == 61
    assert by_name["imports, without all of it"].value == 60 and by_name["without bytecode: CPU time"].value == 41


def test_the_published_form_has_every_merge_and_the_same_files(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    vocab = {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5}
    document = {"model": {"vocab": vocab, "merges": [["a", "b"], ["b", "c"], ["ab", "c"]]}}
    (ours / "tokenizer.json").write_text(json.dumps(document))
    (ours / "tokenizer_config.json").write_text(json.dumps({"pad_token": "a", "added_tokens_decoder": {}}))
    (ours / "config.json").write_text("{}")
    other = start_phases.as_published(ours, tmp_path / "published")
    assert sorted(path.name for path in other.iterdir()) == sorted(path.name for path in ours.iterdir())
    merges = json.loads((other / "tokenizer.json").read_text())["model"]["merges"]
    assert merges == [["a", "b"], ["b", "c"], ["a", "bc"], ["ab", "c"]]
    assert json.loads((other / "tokenizer_config.json").read_text()) == {"pad_token": "a"}
