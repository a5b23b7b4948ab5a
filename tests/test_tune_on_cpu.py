"""The tuner for real, on the CPU with gpt-oss-nano: killed in the middle, called again, one configuration that cannot start."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_cpu_notebook import nbval, prepared

from helpers.bench.tune import Study, chosen, verdicts
from helpers.errors import CookbookError
from helpers.paths import NOTEBOOKS, ROOT
from helpers.server import leases

NOTEBOOK = NOTEBOOKS / "topics" / "tuning.ipynb"
SWEEP = ["--concurrency", "1,2", "--input-tokens", "32", "--output-tokens", "16"]
BUSY_S = 900  # six starts of vLLM, on cores that may be busy with something else
# alone: the threads of a bare `vllm serve` spin on every core, and beside other tests its load client reads whole answers at once
pytestmark = [pytest.mark.full, pytest.mark.measures, pytest.mark.timeout(BUSY_S)]


def argv(folder: Path) -> list[str]:
    words = ["tune", "cpu", "--objective", "latency", *SWEEP, "--study", str(folder)]
    return [sys.executable, "-m", "helpers.cli", *words]


def on_file(folder: Path) -> Study | None:
    try:
        return Study.read(folder / "study.json")
    except CookbookError:
        return None


def wait_for(condition, process: subprocess.Popen, log: Path, seconds: float = BUSY_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"the tuner ended before it could be killed:\n{log.read_text()[-2000:]}"
        assert time.monotonic() < deadline
        time.sleep(0.2)


def own_leases(folder: Path) -> list:
    return [lease for lease in leases() if Path(lease.log).is_relative_to(folder)]


@pytest.fixture(scope="module")
def tuned(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Study, subprocess.CompletedProcess]:
    """The study's folder, the study as it was at the kill, and the call that finished it."""
    place = tmp_path_factory.mktemp("tune")
    folder = place / "study"
    with (place / "first.log").open("w") as log:
        process = subprocess.Popen(argv(folder), cwd=ROOT, stdout=log, stderr=log)
        # The first configuration is on file, the second (or third) has its server: there, kill -9.
        try:
            wait_for(
                lambda: (study := on_file(folder)) and study.trials and own_leases(folder), process, place / "first.log"
            )
        finally:
            process.kill()
            process.wait()
    before = on_file(folder)
    done = subprocess.run(argv(folder), cwd=ROOT, capture_output=True, text=True, timeout=BUSY_S)
    return folder, before, done


def test_two_flags_with_two_values_killed_and_called_again(tuned) -> None:
    folder, before, done = tuned
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    study = on_file(folder)
    assert study.baseline == before.baseline and study.trials[: len(before.trials)] == before.trials, (
        "not measured again"
    )
    assert len(study.calls) == 2 and study.calls[0].finished is None
    assert study.calls[1].starts == 4 - len(before.trials)
    assert own_leases(folder) == [], "no server is left"

    found = {(v.trial.values["max-num-seqs"], v.trial.values["max-num-active-seqs"]): v for v in verdicts(study)}
    assert len(found) == 4
    failed = found.pop((2, 64))
    assert failed.state == "failed" and "(64) cannot be greater than max_num_seqs (2)" in failed.cause
    assert all(len(v.ratios) == 2 and v.trial.startup_s["total"] > 0 for v in found.values())
    assert study.baseline.argv[:2] == ["vllm", "serve"] and "--enforce-eager" not in study.baseline.argv
    won = chosen(study)
    assert (won.trial.name if won else None) == study.chosen
    assert won is None or (won.gain > 1 and min(won.ratios) >= 0.98)
    assert ("chosen: none" in done.stdout) == (won is None) and ("nothing was written" in done.stdout) == (
        won is not None
    )
    assert "cannot be greater than" in done.stdout and str(ROOT) not in (folder / "study.json").read_text()


def test_the_notebook_keeps_its_contract_lines(tuned, tmp_path: Path) -> None:
    """On the study of the test above: the notebook goes on with it, so that it starts no server."""
    notebook = prepared(NOTEBOOK, tmp_path / "tuning.ipynb", study=str(tuned[0]))
    done = nbval(notebook)
    assert done.returncode == 0, done.stdout[-4000:]
    assert [call.starts for call in on_file(tuned[0]).calls[2:]] == [0, 0]


def test_an_unknown_flag_in_a_space_is_one_line_before_any_start(interpreter: Path, tmp_path: Path) -> None:
    knob = {"values": [1, 2], "why": "planted by a test", "source": "a test"}
    space = tmp_path / "space.yaml"
    space.write_text(json.dumps({"mine": {"targets": ["cpu"], "knobs": {"max-num-seqs": knob, "no-such-flag": knob}}}))
    done = subprocess.run(
        [*argv(tmp_path / "study"), "--space", str(space)], cwd=ROOT, capture_output=True, text=True, timeout=900
    )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert "mine.knobs.no-such-flag: --no-such-flag: unknown option" in lines[0]
    assert not list((tmp_path / "study").glob("*/server.log")), "nothing was started"
