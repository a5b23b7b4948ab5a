"""Writes the locks anew: `python -m helpers.machine.stack.lock` (what `make lock` runs)."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.machine.stack.index import uv_environment
from helpers.paths import LOCKS, ROOT

# The index's plain builds of these are for CUDA and break `import vllm` on the CPU build; gpt-oss needs none of them.
CPU_EXCLUDES = ("torchvision", "torchaudio", "torchcodec")


def compile_lock(source: Path, lock: Path, *options: str, python: str = "3.11") -> None:
    """Resolve `source` for `python` and newer ones into `lock` (uv pip compile)."""
    env = uv_environment(dict(os.environ), sys.executable)
    argv = [
        str(Path(sys.executable).parent / "uv"),
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--python-version",
        python,
    ]
    subprocess.run(
        [*argv, "--no-header", *options, str(source), "-o", str(lock)],
        check=True,
        env=env,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )


def main() -> None:
    """Compile the workbench's lock from pyproject.toml, the CPU stack's and the evaluations' from their .in."""
    compile_lock(ROOT / "pyproject.toml", LOCKS / "workbench.txt", "--group", "dev", "--no-annotate")
    compile_lock(LOCKS / "evals.in", LOCKS / "evals.txt", "--no-annotate", python="3.12")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as excludes:
        excludes.write("\n".join(CPU_EXCLUDES))
        excludes.flush()
        compile_lock(LOCKS / "cpu.in", LOCKS / "cpu.txt", "--excludes", excludes.name, "--no-annotate")


if __name__ == "__main__":
    main()
