"""Drills on full and read-only disks (a small tmpfs), and on files cut off in the middle."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from damage import Place, complaint, program

from helpers.cli import system_error
from helpers.errors import CookbookError
from helpers.machine.weights import check_checkpoint
from helpers.paths import RECIPES
from helpers.recipes import load_model
from helpers.records.record import RunRecord
from helpers.runs.run import Run
from maintain.batch import run_batch
from maintain.batch.plan import PlannedRun

drill = pytest.mark.drill
pytestmark = pytest.mark.real
FULL = "No space left on device"


def small_run(folder: Path) -> Run:
    return Run("cpu", {"run_dir": str(folder), "port": 0})


@drill("the disk is full when a run saves its record")
def test_disk_full_at_the_record(small_disk, said) -> None:
    """one line, the earlier record is whole, no part of the new one stays; with room the same run saves"""
    disk = small_disk(256)
    run = small_run(disk.folder / "run")
    path = run.folder / "record.json"
    before = path.read_bytes()
    ballast = disk.fill()
    with pytest.raises(CookbookError, match=FULL) as caught:
        run.save()
    said(caught.value.line())
    assert path.read_bytes() == before and RunRecord.read(path).state == "failed"
    assert not list(run.folder.glob(".record*")), "half a record"
    ballast.unlink()
    run.save()
    assert RunRecord.read(path).state == "failed"


@drill("`cookbook run` into a full disk")
def test_disk_full_at_the_run(small_disk, cli_process, said) -> None:
    """one line, exit code 1, no record that says passed; nothing is launched"""
    disk = small_disk(64)
    disk.fill()
    said(complaint(cli_process("run", "cpu", "-p", "run_dir", str(disk.folder / "run"))))
    assert not list(disk.folder.rglob("record.json"))


@drill("`cookbook run` into a read-only folder")
def test_read_only_run_folder(small_disk, cli_process, said) -> None:
    """one line, exit code 1"""
    disk = small_disk(64)
    disk.remount("ro")
    done = cli_process("run", "cpu", "-p", "run_dir", str(disk.folder / "run"))
    assert "Read-only file system" in said(complaint(done))


@drill("COOKBOOK_RUNS names a file")
def test_runs_folder_is_a_file(cli_process, tmp_path: Path, said) -> None:
    """one line, exit code 1, the file is left alone"""
    path = tmp_path / "runs"
    path.write_text("mine")
    said(complaint(cli_process("run", "cpu", env={"COOKBOOK_RUNS": str(path)})))
    assert path.read_text() == "mine"


@drill("the disk fills up while papermill saves the executed notebook")
def test_disk_full_at_the_notebook(small_disk, said) -> None:
    """one line, what lies under the notebook's name is a whole notebook; with room the next save works"""
    disk = small_disk(64)
    out = disk.folder / "notebook.ipynb"
    code = f"""
    import nbformat
    from helpers.runs.notebook_file import save_whole
    out = {str(out)!r}
    handler = save_whole(Path(out).parent)
    cell = nbformat.v4.new_code_cell("1")
    handler.write(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])), out)
    cell["source"] = "x" * 100_000
    handler.write(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])), out)
    """
    import nbformat

    assert FULL in said(complaint(program(code)))
    assert nbformat.read(out, as_version=4).cells[0].source == "1"
    assert [path.name for path in disk.folder.iterdir()] == ["notebook.ipynb"]
    disk.remount("size=1m")
    assert program(code).returncode == 0
    assert len(nbformat.read(out, as_version=4).cells[0].source) == 100_000


@drill("the disk of the leases is full when a server is launched")
def test_disk_full_at_the_lease(place: Place, small_disk, monkeypatch: pytest.MonkeyPatch, said) -> None:
    """the launch fails, the server that had been started ends, nothing is left; with room the next launch works"""
    disk = small_disk(64)
    place.isolate(monkeypatch, disk.folder)
    (disk.folder / "leases").mkdir()
    (disk.folder / "leases" / "launch.lock").touch()
    ballast = disk.fill()
    with pytest.raises(CookbookError, match=FULL) as caught:
        place.launch()
    said(caught.value.line())
    place.assert_nothing_left()
    ballast.unlink()
    place.works()


@drill("the disk of the server's log is full")
def test_disk_full_at_the_log(place: Place, small_disk, said) -> None:
    """the launch ends with one line and nothing is left; with room the next launch works"""
    disk = small_disk(64)
    ballast = disk.fill()
    with pytest.raises((CookbookError, OSError)) as caught:
        place.launch("crash", log=disk.folder / "server.log")
    said(caught.value)
    place.assert_nothing_left()
    ballast.unlink()
    place.works(log=disk.folder / "server.log")


@drill("the disk is full when a batch writes its summary")
def test_disk_full_at_the_summary(small_disk, said) -> None:
    """the summary of before is whole, and with room the batch goes on"""
    disk = small_disk(64)
    folder = disk.folder / "batch"
    plan = [PlannedRun("a", "cpu", {}, "skipped here")]
    run_batch(plan, folder, None, report=lambda *_: None)
    before = (folder / "summary.json").read_bytes()
    ballast = disk.fill()
    with pytest.raises(OSError, match=FULL) as caught:
        run_batch(plan, folder, None, report=lambda *_: None)
    said(system_error(caught.value).line())  # as the command line ends with it
    assert (folder / "summary.json").read_bytes() == before and json.loads(before)
    ballast.unlink()
    assert run_batch(plan, folder, None, report=lambda *_: None)[0].state == "skipped"


@drill("a checkpoint is built on a disk that is too small")
@pytest.mark.full
def test_disk_full_at_the_checkpoint(interpreter: Path, small_disk, said) -> None:
    """one line with what to do, no folder that looks like a checkpoint, no scratch; with room the next build is whole"""
    from helpers.server.weights import build_nano

    disk = small_disk(300)
    with pytest.raises(CookbookError, match="was not built") as caught:
        build_nano(interpreter, disk.folder)
    said(caught.value.line())
    assert list(disk.folder.iterdir()) == []
    disk.remount("size=900m")
    check_checkpoint(build_nano(interpreter, disk.folder))


@drill("a run whose start lies an hour ahead, as after a clock that jumped back (the time is edited, not the clock)")
def test_clock_jump_and_the_record(tmp_path: Path, said) -> None:
    """the record is still written and read, its end is not before its start"""
    run = small_run(tmp_path / "run")
    run.started = datetime.now(UTC) + timedelta(hours=1)
    run.save()
    record = RunRecord.read(run.folder / "record.json")
    assert record.finished == record.started
    said("no message: the record's end is its start")


@drill("a record cut off in the middle, empty, or of zeros")
@pytest.mark.parametrize("kind", ["half", "empty", "zeros"])
def test_record_half_written(tmp_path: Path, kind: str, said) -> None:
    """refused with its name, never read as a run; the doctor that looks for the run's command goes on without it"""
    path = small_run(tmp_path / "run").folder / "record.json"
    text = path.read_bytes()
    path.write_bytes({"half": text[: len(text) // 2], "empty": b"", "zeros": b"\0" * len(text)}[kind])
    with pytest.raises(CookbookError, match="is not a run record") as caught:
        RunRecord.read(path)
    said(caught.value.line())
    from helpers.cli.doctor import recorded

    assert recorded(path.parent) == {}
    small_run(tmp_path / "run")
    assert RunRecord.read(path).why == "the run did not finish"


@drill("a batch's plan.json cut off in the middle")
def test_plan_half_written(tmp_path: Path, said) -> None:
    """one line with what to do; without the file the batch runs"""
    plan = [PlannedRun("a", "cpu", {}, "skipped here")]
    run_batch(plan, tmp_path, None, report=lambda *_: None)
    path = tmp_path / "plan.json"
    path.write_text(path.read_text()[:5])
    with pytest.raises(CookbookError) as caught:
        run_batch(plan, tmp_path, None, report=lambda *_: None)
    said(caught.value.line())
    path.unlink()
    assert run_batch(plan, tmp_path, None, report=lambda *_: None)


@drill("a recipe cut off in the middle")
def test_recipe_half_written(tmp_path: Path, cli_process, said) -> None:
    """one line that names the file, nothing is started"""
    shutil.copytree(RECIPES, tmp_path / "recipes")
    path = tmp_path / "recipes" / "targets" / "cpu.yaml"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    done = cli_process("run", "cpu", env={"COOKBOOK_ROOT": str(tmp_path)})
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode in (1, 2) and lines[0].startswith("cookbook: ") and "Traceback" not in done.stderr
    assert "cpu" in said(lines[0])


@pytest.fixture
def whole(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of gpt-oss-nano to damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "nano"))


def damaged(folder: Path, kind: str) -> None:
    """Do one kind of damage to a checkpoint folder."""
    shard = folder / "model.safetensors"
    if kind == "truncated":
        os.truncate(shard, shard.stat().st_size // 2)
    elif kind == "last byte lost":
        os.truncate(shard, shard.stat().st_size - 1)
    elif kind == "empty":
        os.truncate(shard, 0)
    elif kind == "missing":
        shard.unlink()
    elif kind == "wrong shape":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"hidden_size": config["hidden_size"] * 2}))
    elif kind == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif kind == "half a config":
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text[: len(text) // 2])
    elif kind == "git lfs pointer":
        shard.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


DAMAGES = (
    "truncated",
    "last byte lost",
    "empty",
    "missing",
    "wrong shape",
    "no tokenizer",
    "half a config",
    "git lfs pointer",
)


@drill("a checkpoint is damaged before it is served")
@pytest.mark.parametrize("kind", DAMAGES)
def test_checkpoint_damaged(whole: Path, kind: str, said) -> None:
    """refused before a server is started, with the file and what is wrong; the whole one is taken"""
    model = load_model("gpt-oss-nano")
    assert check_checkpoint(whole, model).shards == 1
    damaged(whole, kind)
    with pytest.raises(CookbookError) as caught:
        check_checkpoint(whole, model)
    line = said(caught.value.line())
    named = {"wrong shape": "hidden_size", "no tokenizer": "tokenizer.json", "half a config": "config.json"}
    assert named.get(kind, "model.safetensors") in line
