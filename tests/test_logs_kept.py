"""Whoever says "see the server's log" names one that is there: after the command, whatever ended it."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from helpers import paths
from helpers.cli import application
from helpers.doctor import with_log
from helpers.errors import CookbookError, UsageError
from helpers.paths import ROOT
from helpers.runs import folder as folder_module
from helpers.runs.folder import kept_on_failure
from helpers.server.launch import _start_error

DEAD = (ROOT / "tests" / "fixtures" / "doctor" / "S26.log").read_text()
WELL = "INFO:     Started server process [1]\nINFO:     Application startup complete.\n"
# What may use a folder that is gone afterwards, and why nobody will look for a log there.
TEMPORARY = {
    "benchmarks/campaign/import_results.py": "unpacks an archive",
    "benchmarks/notebook_cost.py": "runs cells that start no server",
    "helpers/instack/nano/folder.py": "a checkpoint, renamed when it is whole",
    "helpers/tools/setup.py": "unpacks an archive",
    "maintain/batch/results.py": "a table on its way into the folder of its batch",
    "maintain/delivery/pack.py": "a library that is cut down on its way into an archive",
    "maintain/locks.py": "compiles a lock",
    "maintain/pages/sections.py": "a folder's name in a command that nobody runs",
    "maintain/releases.py": "unpacks a wheel",
    "maintain/site/build.py": "lays out the site's sources",
}


def test_nobody_else_works_in_a_folder_that_goes_away() -> None:
    """A server started in one leaves no log: `kept_on_failure` is for that."""
    files = [path for top in ("helpers", "benchmarks", "maintain", "hunt") for path in (ROOT / top).rglob("*.py")]
    using = {str(path.relative_to(ROOT)) for path in files if "import tempfile" in path.read_text()}
    # cells, no server of vLLM
    using = {name for name in using if not name.startswith("helpers/tools/sandbox/")}
    assert using == set(TEMPORARY)


@pytest.mark.parametrize("trouble", [CookbookError("it failed"), KeyboardInterrupt(), None])
def test_a_folder_stays_where_its_block_failed(
    tmp_path: Path, trouble: BaseException | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "RUNS", tmp_path)
    try:
        with kept_on_failure("try") as folder:
            (folder / "server.log").write_text(DEAD)
            if trouble is not None:
                raise trouble
    except (CookbookError, KeyboardInterrupt) as error:
        assert error is trouble
    assert [path.name for path in tmp_path.glob("*-try-*/server.log")] == (
        ["server.log"] if trouble is not None else []
    )


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").write_text("a file")
    monkeypatch.setattr(folder_module, "RUNS", tmp_path / "runs")
    with pytest.raises(CookbookError, match="set COOKBOOK_RUNS"), kept_on_failure("try"):
        pass


def test_an_error_names_the_log_and_its_cause(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(DEAD)
    error = CookbookError("a request failed", why="HTTP 500", do="look at the server's log")
    line = with_log(error, log, died=True).line()
    assert line.startswith("a request failed because RuntimeError: CPU Generator does not use offset; ")
    assert line.endswith(f"; this is failure S26, see `cookbook doctor {log}`")
    assert (
        with_log(error, log, died=False).line().endswith(f"because HTTP 500; look at the server's log (its log: {log})")
    )
    log.write_text(WELL)
    assert "because HTTP 500; see `cookbook doctor" in with_log(error, log, died=True).line(), "the log names no cause"


def test_a_failed_launch_says_the_cause_and_the_fix(tmp_path: Path) -> None:
    """The doctor's verdict stands in the cell that failed: nobody has to run a second command to read the fix."""
    log = tmp_path / "server.log"
    log.write_text((ROOT / "tests" / "fixtures" / "doctor" / "F21.log").read_text())
    line = _start_error("dead", "profile", log, 1, 3.0, 0).line()
    assert line.startswith(
        "vLLM ended while starting (exit code 1, phase profile) because ValueError: To serve at least"
    )
    assert "; Lower --max-model-len to what the log says fits" in line and "(+ --max-model-len 54528)" in line
    assert line.endswith(f"this is failure F21, see `cookbook doctor {log}`")
    log.write_text(WELL)
    assert "names no exception" in _start_error("dead", "profile", log, 1, 3.0, 0).line()


def test_an_error_that_needs_no_log_stays_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    told = CookbookError("it ended", do=f"see `cookbook doctor {log}`")
    assert with_log(told, log, died=True) is told, "there is no log"
    log.write_text(DEAD)
    assert with_log(told, log, died=True) is told, "it is named already"
    wrong = UsageError("no such skill")
    assert with_log(wrong, log, died=True) is wrong


class Session:
    """Stands for a run with tools whose server dies while it is asked, or does not start."""

    def __init__(self, target: str, given: dict, starts: bool):
        self.log, self.starts, self.server, self.stopped = (Path(given["run_dir"]) / "server.log", starts, None, [])
        self.log.parent.mkdir(parents=True)

    def tools(self, corpus: Path) -> SimpleNamespace:
        return SimpleNamespace(stop=lambda: self.stopped.append("tools"))

    def begin(self) -> SimpleNamespace:
        self.log.write_text(DEAD)
        if not self.starts:
            raise CookbookError("vLLM ended while starting", do=f"see `cookbook doctor {self.log}`")
        self.server = SimpleNamespace(base_url="http://127.0.0.1:9", model="m", log=self.log, healthy=lambda: False)
        return self.server

    def stop(self) -> None:
        assert self.server, "only what was launched is stopped"
        self.stopped.append("server")


@pytest.mark.parametrize("starts", [True, False])
def test_nano_eval_leaves_the_log_of_a_server_that_ended(starts: bool, tmp_path: Path, monkeypatch) -> None:
    made = []
    monkeypatch.setattr(folder_module, "RUNS", tmp_path)
    monkeypatch.setattr("helpers.runs.run.Run", lambda *given: made.append(Session(*given, starts)) or made[-1])
    done = CliRunner().invoke(application(), ["nano", "eval", "--skill", "domain", "--no-sampling"])
    error = done.exception
    assert isinstance(error, CookbookError) and error.exit_code == 1
    (log,) = tmp_path.glob("*-nano-eval-*/run/server.log")
    assert f"cookbook doctor {log}" in error.line() and log.read_text() == DEAD
    assert made[0].stopped == (["server"] if starts else ["tools"])


def test_an_evaluation_names_the_log_of_its_own_server(tmp_path: Path) -> None:
    from helpers.runs.evaluation import EvalRun

    run, error = EvalRun("cpu"), CookbookError("the quick gate gives no score", do="see the server's log")
    assert run.with_log(error) is error, "it launched none"
    log = tmp_path / "server.log"
    log.write_text(DEAD)
    run.server = SimpleNamespace(log=log, healthy=lambda: False)
    assert f"see `cookbook doctor {log}`" in run.with_log(error).line()


def test_evaluations_log_where_the_doctor_looks(tmp_path: Path, monkeypatch) -> None:
    """`cookbook doctor` without a name reads the newest server.log below runs/."""
    from helpers.runs import evaluation

    seen = {}
    monkeypatch.setattr(evaluation, "launch_vllm", lambda *_, **about: seen.update(about) or 1 / 0)
    monkeypatch.setattr("helpers.server.weights.checkpoint", lambda *_: "m")
    monkeypatch.setattr("helpers.machine.stack.ensure", lambda *_: Path("python"))
    with pytest.raises(ZeroDivisionError):
        evaluation.EvalRun("cpu").serve()
    assert seen["log"].is_relative_to(paths.RUNS) and seen["log"].name == "server.log"
