"""Writes recipes/locks/cuda.txt anew: `python -m helpers.machine.stack.cuda_lock`.

One resolution for Linux on x86-64 and aarch64 and for every Python that vLLM takes, with hashes. The machine's
own wheel folders are left out: they may hold CPU builds that would get into a lock for GPUs.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.files import write_whole
from helpers.machine.stack.index import uv_environment
from helpers.paths import LOCKS

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
    "# Written by `python -m helpers.machine.stack.cuda_lock`.\n"
)


def compile_cuda_lock(lock: Path = LOCKS / "cuda.txt") -> None:
    """Resolve the CUDA stack into `lock`."""
    env = uv_environment(dict(os.environ), sys.executable)
    env.pop("UV_FIND_LINKS", None)
    with tempfile.TemporaryDirectory() as folder:
        environments = '", "'.join(LINUX.format(machine) for machine in ("x86_64", "aarch64"))
        Path(folder, "pyproject.toml").write_text(PROJECT.format(vllm=VLLM, environments=environments))
        argv = [str(Path(sys.executable).parent / "uv"), "pip", "compile", "--quiet", "--universal"]
        argv += ["--python-version", "3.11", "--no-header", "--no-annotate", "--generate-hashes"]
        argv += ["--no-emit-index-url", "pyproject.toml", "-o", "cuda.txt"]
        subprocess.run(argv, check=True, env=env, cwd=folder, stdout=subprocess.DEVNULL)
        text = Path(folder, "cuda.txt").read_text()
    write_whole(lock, HEADER + shortened(text))


def shortened(text: str) -> str:
    """The lock without the marker that every line has: the header says it once."""
    x86, arm = (f"(platform_machine == '{m}' and sys_platform == 'linux')" for m in ("aarch64", "x86_64"))
    return text.replace(f" ; implementation_name == 'cpython' and ({x86} or {arm})", "")


if __name__ == "__main__":
    compile_cuda_lock()
