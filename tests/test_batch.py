"""A batch: the plan is checked as a whole, what passed is kept, what failed or was cut off runs again."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from helpers.errors import CookbookError, UsageError
from helpers.paths import RECORDS
from helpers.records.record import RunRecord
from helpers.runs.batch import load_plan, run_batch

RECORD = json.loads(next((RECORDS / "cpu").glob("*.json")).read_text())  # a real run's record


def plan(tmp_path: Path, **content):
    path = tmp_path / "nightly.yaml"
    path.write_text(yaml.safe_dump({"folder": str(tmp_path / "out"), **content}, sort_keys=False))
    return path


@dataclass
class Outcome:
    """What helpers.runs.execute.run_target returns, as far as a batch looks at it."""

    record: RunRecord
    error: str = ""


class Machine:
    """Stands for the runs: leaves records as they do, and fails or is interrupted where told."""

    def __init__(self, fail: tuple[int, ...] = (), interrupt_at: int = -1, refuse: tuple[int, ...] = ()):
        self.fail, self.interrupt_at, self.refuse = fail, interrupt_at, refuse
        self.calls: list[dict] = []

    def __call__(self, target: str, given: dict) -> Outcome:
        size = given["tensor_parallel_size"]
        self.calls.append(given)
        folder = Path(given["run_dir"])
        if size == self.interrupt_at:
            folder.mkdir()
            (folder / "server.log").write_text("half a log")
            raise KeyboardInterrupt
        if size in self.refuse:
            raise CookbookError("the port is taken", why="a test holds it")
        state = {"state": "failed", "why": "a cell failed"} if size in self.fail else {}
        record = RunRecord.model_validate({**RECORD, **state})
        record.write(folder / "record.json")
        return Outcome(record, state.get("why", ""))


def states(results) -> list[str]:
    return [result.state for result in results]


def test_a_plan_crosses_targets_models_and_values(tmp_path: Path):
    path = plan(
        tmp_path,
        targets=["h200", "rtx4090"],
        models=["gpt-oss-20b", "gpt-oss-120b"],
        parameters={"profile": "latency"},
        vary={"tensor_parallel_size": [1, 4], "output_tokens": [64]},
    )
    _, runs, folder = load_plan(path)
    assert folder == tmp_path / "out" and len({run.name for run in runs}) == len(runs) == 8
    skipped = [run.name for run in runs if run.skip]
    assert len(skipped) == 2 and all("rtx4090" in name for name in skipped)  # 20b on 4 cards, 120b on 1
    assert runs[0].name == "01-h200-gpt-oss-20b-tensor_parallel_size-1-output_tokens-64"
    assert runs[0].given == {
        "profile": "latency",
        "model": "gpt-oss-20b",
        "tensor_parallel_size": 1,
        "output_tokens": 64,
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"targets": []}, "targets"),
        ({"targets": ["cpu"], "modells": ["x"]}, "modells: unknown key"),
        ({"targets": ["h300", "cpu"], "parameters": {"port": "x"}}, "unknown target 'h300'"),
        ({"targets": ["cpu"], "models": ["gpt-oss-200b"]}, "unknown model 'gpt-oss-200b'"),
        ({"targets": ["h200"], "vary": {"tensor_parallel_size": [3]}}, "nothing would run"),
        ({"targets": ["cpu"], "vary": {"model": ["gpt-oss-200b"]}}, "given 'gpt-oss-200b'"),
        ({"targets": ["cpu"], "parameters": {"port": "x"}}, "port: given 'x' (str)"),
        ({"targets": ["cpu"], "vary": {"port": []}}, "vary.port: no values"),
        ({"targets": ["cpu"], "parameters": {"port": 0}, "vary": {"port": [0]}}, "parameters.port: is varied too"),
        ({"targets": ["cpu"], "parameters": {"run_dir": "x"}}, "run_dir: is set per run by the batch"),
    ],
)
def test_a_faulty_plan_starts_nothing(cli, tmp_path: Path, content: dict, said: str):
    path = plan(tmp_path, **content)
    done = cli("batch", str(path))
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_plan_is_one_line(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot be read because No such file"):
        load_plan(tmp_path / "none.yaml")


def test_a_failed_run_does_not_stop_the_batch_and_is_run_again(tmp_path: Path):
    path = plan(tmp_path, targets=["h200"], vary={"tensor_parallel_size": [1, 2, 4]})
    _, runs, folder = load_plan(path)
    lines: list[str] = []
    first = Machine(fail=(1,), refuse=(4,))
    results = run_batch(runs, folder, first, lines.append)
    assert states(results) == ["failed", "passed", "failed"]
    assert [result.why for result in results] == ["a cell failed", "", "the port is taken because a test holds it"]
    second = Machine()
    again = run_batch(runs, folder, second, lines.append)
    assert states(again) == ["passed"] * 3 and [one.earlier for one in again] == [False, True, False]
    assert [call["tensor_parallel_size"] for call in second.calls] == [1, 4]
    assert (folder / f"{runs[0].name}.attempt-1" / "record.json").exists()  # nothing is lost
    third = Machine()
    run_batch(runs, folder, third, lines.append)
    assert third.calls == []


def test_an_interrupted_batch_goes_on_where_it_stopped(tmp_path: Path):
    path = plan(tmp_path, targets=["h200"], vary={"tensor_parallel_size": [1, 2, 4]})
    _, runs, folder = load_plan(path)
    with pytest.raises(KeyboardInterrupt):
        run_batch(runs, folder, Machine(interrupt_at=2), lambda line: None)
    summary = json.loads((folder / "summary.json").read_text())
    assert [one["state"] for one in summary] == ["passed", "never run", "never run"]
    second = Machine()
    results = run_batch(runs, folder, second, lambda line: None)
    assert states(results) == ["passed"] * 3
    assert [call["tensor_parallel_size"] for call in second.calls] == [2, 4]
    assert "(earlier)" in (folder / "summary.md").read_text()


def test_two_plans_do_not_mix_in_one_folder(tmp_path: Path):
    _, runs, folder = load_plan(plan(tmp_path, targets=["h200"], vary={"tensor_parallel_size": [1]}))
    run_batch(runs, folder, Machine(), lambda line: None)
    _, other, _ = load_plan(plan(tmp_path, targets=["h200"], vary={"tensor_parallel_size": [2]}))
    with pytest.raises(UsageError, match="holds the runs of another plan"):
        run_batch(other, folder, Machine(), lambda line: None)


@pytest.mark.real
def test_skipped_runs_do_not_fail_the_batch_and_failed_ones_do(cli_process, tmp_path: Path):
    """Through the command line, with a run that fails for real: there is no such Python for `existing`."""
    path = plan(
        tmp_path,
        targets=["cpu"],
        models=["gpt-oss-nano", "gpt-oss-120b"],
        parameters={"install": "existing", "port": 0},
    )
    env = {"COOKBOOK_PYTHON": sys.executable, "COOKBOOK_RUNS": str(tmp_path / "runs")}
    done = cli_process("batch", str(path), env=env)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "| failed |" in done.stdout and "holds no vLLM" in done.stdout
    assert "cpu does not offer gpt-oss-120b" in done.stdout
    assert "1 of 2 runs failed: 01-cpu-gpt-oss-nano" in done.stderr
    folder = tmp_path / "out" / "01-cpu-gpt-oss-nano"
    assert (folder / "notebook.ipynb").exists() and json.loads((folder / "record.json").read_text())[
        "state"
    ] == "failed"
