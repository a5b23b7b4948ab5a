"""The bar that a waiting reader sees: where it is shown, that it goes again, and that a committed page never gets one."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from helpers import progress
from helpers.bench.sweep import Console
from helpers.progress import OFF, SHOW, bar, child


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the bars of a block showed, as the panel would get it."""
    monkeypatch.delenv(OFF, raising=False)
    shown: list[str] = []
    token = SHOW.set(shown.append)
    yield shown
    SHOW.reset(token)


def test_a_bar_shows_its_state_where_it_is_told_to_and_goes_when_it_closes(lines: list[str]) -> None:
    with bar("reading", 4, " files", mininterval=0) as shown:
        shown.update(3)
    assert any("reading:  75%" in line and "3/4" in line for line in lines) and lines[-1] == ""


def test_nothing_is_shown_in_a_file_or_where_a_page_is_executed(
    lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv(OFF, "1")
    with bar("reading", 4) as shown:
        shown.update(3)
    SHOW.set(None)
    monkeypatch.delenv(OFF)
    with bar("reading", 4) as other:  # standard error is no terminal here
        other.update(3)
    assert shown.disable and other.disable and lines == [] and capsys.readouterr() == ("", "")


def test_a_notebook_shows_text_below_its_cell_and_keeps_none(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    SHOW.set(None)
    handle = SimpleNamespace(update=lambda data, raw: lines.append(data["text/plain"]))
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=True))
    monkeypatch.setattr("IPython.display.display", lambda *_, **asked: handle if asked["display_id"] else None)
    with bar("reading", 4, mininterval=0) as shown:
        shown.update(2)
    assert any("reading:  50%" in line for line in lines) and lines[-1] == ""


def test_a_sweep_shows_the_requests_of_the_point_that_runs_and_a_line_for_each_done(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helpers.bench.sweep.line_of", lambda point: f"point {point}")
    console = Console(lines.append)
    for kind, done in (("warmup", 1), ("warmup", 2), ("progress", 3), ("progress", 8)):
        console({"event": kind, "done": done, "of": 8})
    console({"event": "point", "measured": 1, "skipped": True})
    told = " ".join(lines)
    assert told.index("warm-up:") < told.index("load:") < told.index("point 1  (kept)") and console.bar is None


@pytest.mark.real
def test_a_child_is_watched_to_its_end_with_what_it_printed(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOOK_S", 0.05)
    code = "import sys, time\nfor n in (1, 2):\n print(f'step {n} of 2', flush=True); time.sleep(0.3)\nsys.exit('no')"
    done = child("writing", [sys.executable, "-c", code])
    assert (done.returncode, done.stdout, done.stderr) == (1, "step 1 of 2\nstep 2 of 2\n", "no\n")
    assert any("writing: 00:00" in line for line in lines) and any("1/2" in line for line in lines)


@pytest.mark.real
def test_a_child_that_outlives_its_time_is_ended(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOOK_S", 0.05)
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired, match=r"after 0.2 seconds"):
        child("writing", [sys.executable, "-c", "import time; time.sleep(60)"], 0.2)
    assert time.monotonic() - began < 30


@pytest.mark.real
def test_an_interrupted_wait_ends_the_child(lines: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(_: str) -> None:
        if (tmp_path / "ready").exists():
            raise KeyboardInterrupt

    SHOW.set(interrupt)
    monkeypatch.setattr(progress, "LOOK_S", 0.05)
    code = f"import pathlib, time; pathlib.Path({str(tmp_path / 'ready')!r}).write_text(''); time.sleep(60)"
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        child("writing", [sys.executable, "-c", code])
    assert time.monotonic() - began < 30, "the child was ended, not waited for"
    SHOW.set(None)
    other = Thread(target=lambda: bar("another").close(), daemon=True)
    other.start()
    other.join(10)
    assert not other.is_alive(), "tqdm's own bar keeps its lock then"
