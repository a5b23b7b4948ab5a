"""Bytecode: written for what a start imports, and kept by every process of the stack."""

import sys
from pathlib import Path

import pytest

from helpers.bench import worker
from helpers.bytecode import FORBIDS, compile_stack
from helpers.server.launch import plain_environment


@pytest.mark.real
def test_an_installed_stack_has_bytecode_for_what_a_start_imports(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(FORBIDS, "1")
    site = tmp_path / "lib" / "python3.99" / "site-packages"
    for name in ("vllm/start.py", "vllm/tests/left_out.py", "torch/other.py", "unused/package.py"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text("x = 1\n")
    (site / "vllm" / "newer.py").write_text("def f[T](x): ...\n" if sys.version_info < (3, 12) else "x = = 1\n")
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.symlink_to(sys.executable)
    compile_stack(python)
    assert sorted(path.name.split(".")[0] for path in site.rglob("*.pyc")) == ["other", "start"]


@pytest.mark.parametrize("environment", [plain_environment, worker.environment])
def test_the_processes_of_the_stack_keep_their_bytecode(environment, monkeypatch) -> None:
    monkeypatch.setenv(FORBIDS, "1")
    monkeypatch.setenv("HOME", "/home/me")
    found = environment()
    assert FORBIDS not in found and found["HOME"] == "/home/me"


@pytest.mark.real
def test_the_cpu_stack_was_compiled(interpreter: Path) -> None:
    site = next((interpreter.parent.parent / "lib").glob("python3.*/site-packages"))
    for module in ("vllm/v1/engine/core", "vllm/entrypoints/cli/serve", "torch/_dynamo/symbolic_convert"):
        path = site / module
        assert list((path.parent / "__pycache__").glob(f"{path.name}.cpython-*.pyc")), module
