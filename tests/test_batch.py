"""A batch: the plan is checked as a whole, what passed is kept, what failed or was cut off runs again."""

import json
import os
import shlex
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
import yaml

from helpers.errors import CookbookError, UsageError
from helpers.paths import RECORDS
from helpers.records.record import RunRecord
from maintain.batch import PlannedRun, load_plan, ray_jobs
from maintain.batch import run_batch as started
from maintain.batch.checks import resumed
from maintain.batch.execute import Batch
from maintain.batch.results import change, frame, markdown, versions
from maintain.batch.slots import Slot, Slots
from maintain.batch.slurm import script
from tests.ray_cluster import ray_cluster
from tests.slurm_cluster import cluster

RECORD = json.loads(next((RECORDS / "cpu").glob("*.json")).read_text())  # a real run's record


def run_batch(runs, folder, runner, report=lambda line: None, slots=None, **options):
    """A batch on a machine with eight devices, one run at a time unless `slots` says more."""
    return started(runs, folder, runner, report, slots or Slots([str(n) for n in range(8)], [0, 1], 1), **options)


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

    def __call__(self, run: PlannedRun, given: dict, slot: Slot) -> Outcome:
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


class Busy:
    """Stands for runs that take time: who ran beside whom, on which devices or cores."""

    def __init__(self, seconds: float = 0.15):
        self.seconds, self.lock = seconds, threading.Lock()
        self.now: list[set[str]] = []
        self.most, self.shared, self.places = 0, [], []

    def __call__(self, run: PlannedRun, given: dict, slot: Slot) -> Outcome:
        mine = set(slot.env.get("CUDA_VISIBLE_DEVICES", "").split(",")) | {f"core {core}" for core in slot.cores}
        mine.discard("")
        with self.lock:
            self.shared += [mine & other for other in self.now if mine & other]
            self.now.append(mine)
            self.most = max(self.most, len(self.now))
            self.places.append(mine)
        time.sleep(self.seconds)
        with self.lock:
            self.now.remove(mine)
        record = RunRecord.model_validate(RECORD)
        record.write(Path(given["run_dir"]) / "record.json")
        return Outcome(record)


def test_runs_go_side_by_side_and_never_two_on_one_gpu(tmp_path: Path):
    path = plan(
        tmp_path, targets=["h200"], vary={"tensor_parallel_size": [1, 2], "output_tokens": [8, 16, 32]}, repeat=2
    )
    _, runs, folder = load_plan(path)
    busy = Busy()
    results = run_batch(runs, folder, busy, slots=Slots(["0", "1", "2", "3"], [0, 1]))
    assert states(results) == ["passed"] * 12
    assert busy.shared == [] and 2 <= busy.most <= 4
    assert {len(place) for place in busy.places} == {1, 2} and set.union(*busy.places) == {"0", "1", "2", "3"}


def test_replicas_have_the_machine_for_themselves_and_too_many_devices_fail_alone(tmp_path: Path):
    _, runs, folder = load_plan(plan(tmp_path, targets=["h200"], vary={"replicas": [2, 1, 4, 1]}))
    busy = Busy()
    results = run_batch(runs, folder, busy, slots=Slots(["0", "1"], [0, 1]))
    assert states(results) == ["passed", "passed", "failed", "passed"]
    assert results[2].why.startswith("03-h200-gpt-oss-120b-replicas-4 needs 4 devices because 2 are in sight here")
    assert busy.most <= 2 and set() in busy.places


def test_cpu_runs_divide_the_cores(tmp_path: Path):
    _, runs, folder = load_plan(plan(tmp_path, targets=["cpu"], vary={"output_tokens": [8, 16, 32, 64]}))
    busy = Busy()
    run_batch(runs, folder, busy, slots=Slots([], [0, 1, 2, 3], 2))
    assert busy.most == 2 and busy.shared == []
    assert {frozenset(place) for place in busy.places} == {
        frozenset({"core 0", "core 1"}),
        frozenset({"core 2", "core 3"}),
    }
    alone = Busy(0.01)
    run_batch(runs, tmp_path / "alone", alone, slots=Slots([], [0, 1, 2, 3]))
    assert alone.most == 1 and alone.places == [set()] * 4, "all the cores unless asked"
    with pytest.raises(UsageError, match="5 runs side by side on 4 cores"):
        Slots([], [0, 1, 2, 3], 5)


def test_only_one_run_of_a_plan_and_the_rest_stay_as_they_are(tmp_path: Path):
    _, runs, folder = load_plan(plan(tmp_path, targets=["h200"], vary={"tensor_parallel_size": [1, 2, 4]}))
    run_batch(runs, folder, Machine(fail=(4,)), only=[1, 2])
    assert states(run_batch(runs, folder, Machine(), only=[0])) == ["passed", "passed", "failed"]


def test_tasks_that_overlap_leave_one_whole_summary(tmp_path: Path):
    _, runs, folder = load_plan(plan(tmp_path, targets=["h200"], vary={"tensor_parallel_size": [1, 2]}))
    long = Batch(runs, folder, Slots(["0", "1"], [0]))  # begun before the other, ended after it
    run_batch(runs, folder, Machine(), only=[1])
    long.run([0], Machine(), lambda _: None)
    summary = json.loads((folder / "summary.json").read_text())
    assert [one["state"] for one in summary] == ["passed", "passed"]


def test_a_plan_as_ray_jobs(tmp_path: Path):
    path = plan(tmp_path, targets=["h200"], vary={"tensor_parallel_size": [1, 3, 2]})
    _, runs, folder = load_plan(path)
    jobs = [line for line in ray_jobs.script(path, runs, folder).splitlines() if line.startswith("submit ")]
    assert [job.split(" -- ")[0] for job in jobs] == [
        "submit 1 --entrypoint-num-cpus=1 --entrypoint-num-gpus=1",
        "submit 3 --entrypoint-num-cpus=1 --entrypoint-num-gpus=2",
    ]
    assert [shlex.split(job)[-1].split()[-2:] for job in jobs] == [["--only", "1"], ["--only", "3"]]


def test_a_plan_as_a_slurm_array(tmp_path: Path):
    path = plan(tmp_path, targets=["h200"], vary={"tensor_parallel_size": [1, 3, 2]})
    _, runs, folder = load_plan(path)
    text = script(path, runs, folder)
    assert "#SBATCH --array=1,3\n" in text and "#SBATCH --gpus=2\n" in text
    assert text.splitlines()[-1].endswith('--only "$SLURM_ARRAY_TASK_ID"') and str(path) in text
    cpu = plan(tmp_path, targets=["cpu"])
    assert "#SBATCH --exclusive\n" in script(cpu, load_plan(cpu)[1], folder)


def test_every_point_is_a_row_of_one_table(tmp_path: Path):
    _, runs, folder = load_plan(plan(tmp_path, targets=["h200"], vary={"tensor_parallel_size": [1, 2, 4]}))
    run_batch(runs, folder, Machine(fail=(2,), refuse=(4,)))
    asked = "SELECT run, state, count(output_tok_s), max(vllm) FROM read_parquet(?) GROUP BY ALL ORDER BY run"
    points = len(RECORD["throughput"])
    assert duckdb.execute(asked, [str(folder / "results.parquet")]).fetchall() == [
        (runs[0].name, "passed", points, "0.32.0"),
        (runs[1].name, "failed", points, "0.32.0"),
    ]
    (first,) = duckdb.execute(
        "SELECT concurrency, output_tok_s, ttft_p50_ms FROM read_parquet(?) LIMIT 1", [str(folder / "results.parquet")]
    ).fetchall()
    point = RECORD["throughput"][0]
    assert first == (point["concurrency"], point["output_tok_s"], point["ttft_ms"]["p50"])


def measured(vllm: str, *speeds: float) -> list[tuple[str, RunRecord]]:
    """A run for each speed, all at one setting."""
    point = RECORD["throughput"][0]
    made = []
    for number, factor in enumerate(speeds):
        scaled = {"output_tok_s": 10 * factor, "output_tok_s_per_gpu": 10 * factor}
        scaled["duration_s"] = point["prompts"] * point["output_tokens"] / scaled["output_tok_s"]
        mean = {"e2e_ms": point["e2e_ms"] | {"mean": None}}
        roof = {"roofline_tok_s": None, "roofline_fraction": None}
        record = {**RECORD, "versions": {"vllm": vllm}, "throughput": [point | scaled | mean | roof]}
        made.append((f"{vllm}-{number}", RunRecord.model_validate(record)))
    return made


def test_a_regression_is_flagged_only_beyond_the_noise():
    old = measured("0.31.0", 1.00, 1.02, 0.98)
    (worse,) = versions(frame([*old, *measured("0.32.0", 0.90, 0.91, 0.92)]), "0.31.0", "0.32.0")
    assert worse.verdict == "slower" and worse.ratio == pytest.approx(0.910, abs=0.001) and worse.runs == (3, 3)
    (noisy,) = versions(frame([*old, *measured("0.32.0", 0.80, 0.91, 1.04)]), "0.31.0", "0.32.0")
    assert noisy.verdict == "within the noise" and noisy.low < 1 < noisy.high
    (better,) = versions(frame([*old, *measured("0.32.0", 1.2, 1.21, 1.22)]), "0.31.0", "0.32.0")
    assert better.verdict == "faster"
    (single,) = versions(frame([*old, *measured("0.32.0", 0.95)]), "0.31.0", "0.32.0")
    assert single.verdict == "within the noise" and single.high / single.ratio == pytest.approx(1.10)
    text = markdown([better, worse], "0.31.0", "0.32.0").splitlines()
    assert "**slower**" in text[2] and "faster" in text[3], "what got slower comes first"
    with pytest.raises(UsageError, match="no setting was measured with vLLM"):
        versions(frame(old), "0.31.0", "0.99.0")


def test_the_interval_is_welchs():
    """scipy's `ttest_ind(equal_var=False)` gives 1.0797 to 1.1437 for 6.87 degrees of freedom; here they are rounded down."""
    found = change({}, [0.00, 0.02, -0.02, 0.01], [0.10, 0.11, 0.12, 0.08, 0.13])
    assert 1.0775 < found.low < 1.0797 and 1.1437 < found.high < 1.1460


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


def ending_at_once(folder: Path, output_tokens: list[int]) -> Path:
    """A plan of one sweep for each number; their interpreter holds no vLLM."""
    parameters = {"install": "existing", "port": 0}
    return plan(folder, targets=["cpu"], sweep=True, parameters=parameters, vary={"output_tokens": output_tokens})


@pytest.mark.full
def test_a_real_slurm_runs_each_task_of_the_array(tmp_path: Path):
    """Three runs that end at once, for want of a vLLM, on two real nodes: each task does its own run and no other."""
    path = ending_at_once(tmp_path, [8, 16, 32])
    _, runs, folder = load_plan(path)
    folder.mkdir()
    with cluster() as slurm:
        (slurm.folder / "batch.sh").write_text(script(path, runs, folder))
        python = f"COOKBOOK_PYTHON={sys.executable}"
        done = slurm.run("env", python, "sbatch", "--wait", "batch.sh", timeout=240)
    logs = {log.name: log.read_text() for log in folder.glob("slurm-*.log")}
    assert done.returncode == 1 and len(logs) == 3, (done.stderr, logs)
    for number, run in enumerate(runs, 1):
        assert f"[{number}/3] {run.name}: failed" in logs[f"slurm-{number}.log"]
        record = RunRecord.read(folder / run.name / "record.json")
        assert "holds no vLLM" in record.why and record.parameters["output_tokens"] == run.given["output_tokens"]
        assert sum(run.name + " ..." in text for text in logs.values()) == 1, "no other task did it"
    assert {one["state"] for one in json.loads((folder / "summary.json").read_text())} == {"failed"}


@pytest.mark.full
def test_a_real_ray_runs_each_job_of_a_plan(tmp_path: Path):
    """Two runs that end at once, for want of a vLLM, on two real nodes, side by side."""
    path = ending_at_once(tmp_path, [8, 16])
    _, runs, folder = load_plan(path)
    (tmp_path / "plan.sh").write_text(ray_jobs.script(path, runs, folder))
    with ray_cluster({"COOKBOOK_PYTHON": sys.executable}) as cluster_of_two:
        done = cluster_of_two.run("bash", str(tmp_path / "plan.sh"), timeout=120)
        jobs = json.loads(cluster_of_two.run("ray", "list", "jobs", "--format=json").stdout)
    assert done.returncode == 1 and [job["status"] for job in jobs] == ["FAILED"] * 2, done.stderr
    for number, run in enumerate(runs, 1):
        assert f"[{number}/2] {run.name}: failed" in (folder / f"ray-{number}.log").read_text()
        record = RunRecord.read(folder / run.name / "record.json")
        assert "holds no vLLM" in record.why and record.parameters["output_tokens"] == run.given["output_tokens"]
    assert {one["state"] for one in json.loads((folder / "summary.json").read_text())} == {"failed"}


def test_a_link_to_the_newest_run_is_no_run_that_ran_again(tmp_path: Path):
    """`latest` pointed to a run that had passed when the batch was killed, and points to another one afterwards."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(json.dumps(RECORD))
    os.utime(tmp_path / "first" / "record.json", (1, 1))
    (tmp_path / "latest").symlink_to("first")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/record.json") if path.parent.name != "second"}
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").symlink_to("second")
    (tmp_path / "summary.json").write_text(json.dumps([{"state": "passed", "why": ""}] * 2))
    (tmp_path / "plan.json").write_text("[1, 2]")
    assert len(before) == 2 and resumed(tmp_path, before, parallel=2).passed
    (tmp_path / "first" / "record.json").touch()
    assert "['first'] ran again, of 1 that had passed" in str(resumed(tmp_path, before, parallel=2).faults)
