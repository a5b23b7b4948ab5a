"""Writes the locks anew: `python -m maintain.locks` (`make lock`) all but CUDA's, `python -m maintain.locks cuda` that one."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.files import write_whole
from helpers.machine.index import uv_environment
from helpers.paths import LOCKS, ROOT

# The index's plain builds of these are for CUDA and break `import vllm` on the CPU build; gpt-oss needs none of them.
CPU_EXCLUDES = ("torchvision", "torchaudio", "torchcodec")
VLLM = "0.32.0"
LINUX = "sys_platform == 'linux' and platform_machine == '{}' and implementation_name == 'cpython'"
PROJECT = """[project]
name = "cuda-stack"
version = "0"
requires-python = ">=3.11,<3.15"
dependencies = ["vllm=={vllm}"]
[tool.uv]
environments = ["{environments}"]
"""
HEADER = (
    f"# vLLM {VLLM} for CUDA and everything under it: Linux on x86-64 or aarch64, CPython 3.11 to 3.14.\n"
    "# Written by `python -m maintain.locks cuda`.\n"
)


def compile_lock(
    source: Path, lock: Path, *options: str, python: str = "3.11", env: dict[str, str] | None = None
) -> None:
    """Resolve `source` for `python` and newer ones into `lock` (uv pip compile)."""
    words = ["pip", "compile", "--quiet", "--universal", "--python-version", python, "--no-header", "--no-annotate"]
    subprocess.run(
        [str(Path(sys.executable).parent / "uv"), *words, *options, str(source), "-o", str(lock)],
        check=True,
        env=uv_environment(dict(os.environ), sys.executable) if env is None else env,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )


def compile_locks() -> None:
    """Compile the workbench's lock from pyproject.toml, the CPU stack's and the evaluations' from their .in."""
    compile_lock(ROOT / "pyproject.toml", LOCKS / "workbench.txt", "--group", "dev")
    compile_lock(LOCKS / "evals.in", LOCKS / "evals.txt", python="3.12")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as excludes:
        excludes.write("\n".join(CPU_EXCLUDES))
        excludes.flush()
        compile_lock(LOCKS / "cpu.in", LOCKS / "cpu.txt", "--excludes", excludes.name)


def compile_cuda_lock(lock: Path = LOCKS / "cuda.txt") -> None:
    """Resolve the CUDA stack: one resolution for Linux on x86-64 and aarch64 and every Python that vLLM takes, with hashes.

    The machine's own wheel folders are left out: they may hold CPU builds that would get into a lock for GPUs.
    """
    env = uv_environment(dict(os.environ), sys.executable)
    env.pop("UV_FIND_LINKS", None)
    with tempfile.TemporaryDirectory() as folder:
        project, resolved = Path(folder, "pyproject.toml"), Path(folder, "cuda.txt")
        environments = '", "'.join(LINUX.format(machine) for machine in ("x86_64", "aarch64"))
        project.write_text(PROJECT.format(vllm=VLLM, environments=environments))
        compile_lock(project, resolved, "--generate-hashes", "--no-emit-index-url", env=env)
        write_whole(lock, HEADER + shortened(resolved.read_text()))


def shortened(text: str) -> str:
    """The lock without the marker that every line has: the header says it once."""
    x86, arm = (f"(platform_machine == '{m}' and sys_platform == 'linux')" for m in ("aarch64", "x86_64"))
    return text.replace(f" ; implementation_name == 'cpython' and ({x86} or {arm})", "")


if __name__ == "__main__":
    compile_cuda_lock() if sys.argv[1:] == ["cuda"] else compile_locks()
