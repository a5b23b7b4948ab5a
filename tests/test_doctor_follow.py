"""`cookbook doctor --report` and `--watch`: an issue's text, and what is new in a log while it is written."""

import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.cli import application
from helpers.doctor import diagnose
from helpers.doctor.watch import watch
from helpers.errors import UsageError
from helpers.machine.preflight import Gpu, Machine
from helpers.paths import ROOT

START = "(EngineCore pid=7) INFO 11-26 10:00:01 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='m'\n"
READY = "INFO:     Started server process [1]\nINFO:     Application startup complete.\n"
SECRET = "hf_abcdefghijklmnopqrstuv"
FAILED = f"""(EngineCore pid=7) ERROR 11-26 10:00:09 [core.py:1000] EngineCore failed to start.
(EngineCore pid=7) ERROR 11-26 10:00:09 [core.py:1000] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-26 10:00:09 [core.py:1000]   File "{Path.home()}/x.py", line 3, in <module>
(EngineCore pid=7) ERROR 11-26 10:00:09 [core.py:1000]     fetch(token="{SECRET}")
(EngineCore pid=7) ERROR 11-26 10:00:09 [core.py:1000] ValueError: a ``` fence with {SECRET} in {Path.home()}/x
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}
"""


def test_a_report_is_one_block_without_secrets(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(START + FAILED)
    machine = Machine(
        gpus=[Gpu(0, "NVIDIA L4", 23, 22, "8.9")], driver="580.1", cuda="13.0", cpu="C", architecture="x86_64"
    )
    text = diagnose(log).report(machine.report_line(), ["vllm", "serve", "m", "--api-key", "sk-abcdefghijkl"])
    assert text.startswith("### ValueError: a ``` fence")
    for part in (
        "What `cookbook doctor` thinks:",
        "- unknown failure:",
        "- vllm: 0.32.0",
        "compute capability 8.9",
        "driver 580.1",
    ):
        assert part in text
    assert "\nvllm serve m\n--api-key" in text
    assert SECRET not in text and "sk-abc" not in text and str(Path.home()) not in text
    fences = [line for line in text.splitlines() if line.startswith("```") and not line.strip("`")]
    assert fences[:2] == ["````", "````"] and len(fences) % 2 == 0


def doctor(*words: str):
    return CliRunner().invoke(application(), ["doctor", *words])


def test_a_report_of_a_known_failure_says_what_is_known() -> None:
    done = doctor("tests/fixtures/doctor/S26.log", "--report")
    assert done.exit_code == 1 and done.stdout.startswith("### ")
    assert "- S26 [fatal]" in done.stdout and "Machine (where this was written):" in done.stdout
    assert diagnose(ROOT / "tests/fixtures/doctor/healthy.log").report().startswith("### no failure found")


@pytest.mark.parametrize(
    "words", [["--report", "--json"], ["--live", "http://x", "--report"], ["--watch", "a", "--run", "b"]]
)
def test_forms_that_exclude_each_other(words: list[str]) -> None:
    done = doctor(*words)
    assert isinstance(done.exception, UsageError) and "too many" in str(done.exception)


@pytest.mark.parametrize("option", ["--watch", "--run"])
def test_a_log_that_is_missing_is_named_once_for_each_place(option: str, tmp_path: Path) -> None:
    missing = doctor(option, str(tmp_path / "x.log")).exception
    assert isinstance(missing, UsageError) and missing.why.count("x.log") == 1
    assert doctor(option, "x").exception.why == "no folder is at runs/x or x"


class Script:
    """A log that grows while it is watched: one entry a tick; None leaves it as it is."""

    def __init__(self, log: Path, *parts: str | None) -> None:
        self.log, self.parts, self.now = log, list(parts), 0.0

    def pause(self, seconds: float) -> None:
        self.now += seconds
        if not self.parts:
            raise KeyboardInterrupt
        if (part := self.parts.pop(0)) is not None:
            with self.log.open("a") as file:
                file.write(part)

    def said(self, read=diagnose) -> list[str]:
        out = []
        try:
            for text in watch(self.log, read, [], self.pause, lambda: self.now):
                out.append(text)
        except KeyboardInterrupt:
            pass
        return out


def test_each_thing_is_told_once_and_the_end_in_full(tmp_path: Path) -> None:
    slow = "(EngineCore pid=7) WARNING 11-26 10:00:05 [vllm.py:1] Enforce eager set, disabling torch.compile and CUDAGraphs.\n"
    dead = "(EngineCore pid=7) ERROR 11-26 10:09:09 [core.py:1] EngineCore encountered a fatal error.\n"
    cause = FAILED.replace("10:00", "10:09").splitlines(keepends=True)[1:5]
    halves = "".join(cause[:2]), "".join(cause[2:])
    log = tmp_path / "server.log"
    said = Script(log, START, None, slow, None, READY, None, None, dead + halves[0], halves[1], None, None, None).said()
    assert said[0] == "waiting for server.log"
    assert sum(text == "the server is ready" for text in said) == 1
    assert said[-1].count("ValueError: a ``` fence") >= 1 and "First cause" in said[-1], "not from half a traceback"
    assert len(said) == len(set(said))


def test_a_log_that_never_rests_is_read_and_one_that_begins_anew_is_said(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("")
    script = Script(log, START + READY, *(f"INFO: line {n}\n" for n in range(12)))
    assert script.said() == ["the server is ready"]
    script = Script(log, None, None)
    old = script.pause

    def again(seconds: float) -> None:
        if len(script.parts) == 1:
            log.write_text(START)
        old(seconds)

    script.pause = again
    assert "the log began anew" in script.said()


def test_silence_before_ready_is_said_once(tmp_path: Path) -> None:
    said = Script(tmp_path / "server.log", START, *[None] * 1500).said()
    assert said == ["waiting for server.log", "nothing new for 10 minutes, and the server is not ready"]


def test_a_stop_ends_the_watch_without_a_failure(tmp_path: Path) -> None:
    stop = "INFO:     Shutting down\nINFO:     Application shutdown complete.\n"
    said = Script(tmp_path / "server.log", START + READY, None, None, stop, *[None] * 9).said()
    assert said[1] == "the server is ready" and "told to stop" in said[-1]


def test_reading_takes_a_tenth_of_the_time_at_most(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    script = Script(log, *[START] * 100)
    reads = []

    def slow(path: Path):
        reads.append(script.now)
        script.now += 4
        return diagnose(path)

    script.said(slow)
    assert len(reads) > 1 and all(later - earlier >= 40 for earlier, later in itertools.pairwise(reads))


@pytest.mark.real
def test_the_command_follows_a_run_until_it_fails(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"argv": ["vllm", "serve", "m"]}))
    log = tmp_path / "server.log"
    log.write_text(START)
    words = [sys.executable, "-m", "helpers.cli", "doctor", "--watch", str(tmp_path)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(2)
        log.write_text(START + FAILED)
        out, _ = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == 1 and "ValueError" in out and SECRET not in out
