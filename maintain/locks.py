"""Writes the locks anew: `python -m maintain.locks` (`make lock`) all but CUDA's, with `cuda` or `cpu` that one."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.files import write_whole
from helpers.machine.index import find_links, uv_environment
from helpers.machine.stack import pinned
from helpers.paths import LOCKS, ROOT

# The index's plain builds of these are for CUDA and break `import vllm` on the CPU build; gpt-oss needs none of them.
CPU_EXCLUDES = ("torchvision", "torchaudio", "torchcodec")
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
    "# vLLM {vllm} for CUDA and everything under it: Linux on x86-64 or aarch64, CPython 3.11 to 3.14.\n"
    "# Written by `python -m maintain.locks cuda`.\n"
)


def compile_lock(
    source: Path,
    lock: Path,
    *options: str,
    python: str = "3.11",
    env: dict[str, str] | None = None,
    project: Path = ROOT,
) -> None:
    """Resolve `source` for `python` and newer ones into `lock`, with the hashes of every file that the index has.

    It is `uv pip compile`, which reads the settings of `project`.
    """
    words = ["pip", "compile", "--quiet", "--universal", "--python-version", python, "--generate-hashes"]
    words += ["--no-header", "--no-annotate", *options]
    subprocess.run(
        [str(Path(sys.executable).parent / "uv"), *words, str(source), "-o", str(lock)],
        check=True,
        env=uv_environment(dict(os.environ), sys.executable) if env is None else env,
        cwd=project,
        stdout=subprocess.DEVNULL,
    )


def compile_locks() -> None:
    """Compile the workbench's lock from pyproject.toml, those of the CPU stack, evaluations and clients from their .in."""
    compile_lock(ROOT / "pyproject.toml", LOCKS / "workbench.txt", "--group", "dev")
    compile_lock(LOCKS / "evals.in", LOCKS / "evals.txt", python="3.12")
    for name in ("clients", "litellm"):
        compile_lock(LOCKS / f"{name}.in", LOCKS / f"{name}.txt")
    compile_lock(LOCKS / "aider.in", LOCKS / "aider.txt", python="3.12")
    compile_cpu_lock()


def compile_cpu_lock() -> None:
    """Resolve the CPU stack from its .in.

    torch comes from PyTorch's CPU index, or from a folder of wheels that may hold one of them: then torch's hashes that the
    lock already has for the same release stay, and a new release's are those of that folder alone, which a line says.
    """
    lock, env = LOCKS / "cpu.txt", uv_environment(dict(os.environ), sys.executable)
    before, torch = lock.read_text(), pinned(LOCKS / "cpu.in", "torch")
    local = [path.name for folder in find_links(env) for path in folder.glob(f"torch-{torch}-*.whl")]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as excludes:
        excludes.write("\n".join(CPU_EXCLUDES))
        excludes.flush()
        options = ["--excludes", excludes.name, *([] if local else ["--torch-backend", "cpu"])]
        compile_lock(LOCKS / "cpu.in", lock, *options, env=env)
    if local:
        write_whole(lock, with_torch_of(before, lock.read_text()))
    if local and f"torch=={torch} " not in before:
        print(f"torch {torch}: the hashes of {', '.join(local)} alone; compile again where PyTorch's index is in reach")


def with_torch_of(before: str, after: str) -> str:
    """A lock with torch's hashes of an older one added, where both pin the same release."""
    entry = re.compile(r"^(torch==\S+)((?: \\\n +--hash=\S+)*)", re.M)
    old, new = entry.search(before), entry.search(after)
    if not old or not new or old[1] != new[1]:
        return after
    hashes = sorted({*re.findall(r"--hash=\S+", old[2] + new[2])})
    return entry.sub(lambda found: " \\\n    ".join([found[1], *hashes]), after)


def compile_cuda_lock(vllm: str = "", lock: Path = LOCKS / "cuda.txt") -> None:
    """Resolve the CUDA stack: one resolution for Linux on x86-64 and aarch64 and every Python that vLLM takes, with hashes.

    `vllm` is the release, the lock's own where it is empty. The machine's own wheel folders are left out: they may hold
    CPU builds that would get into a lock for GPUs.
    """
    vllm = vllm or pinned(lock, "vllm")
    env = uv_environment(dict(os.environ), sys.executable)
    env.pop("UV_FIND_LINKS", None)
    with tempfile.TemporaryDirectory() as folder:
        project, resolved = Path(folder, "pyproject.toml"), Path(folder, "cuda.txt")
        environments = '", "'.join(LINUX.format(machine) for machine in ("x86_64", "aarch64"))
        project.write_text(PROJECT.format(vllm=vllm, environments=environments))
        compile_lock(project, resolved, "--no-emit-index-url", env=env, project=Path(folder))
        write_whole(lock, HEADER.format(vllm=vllm) + shortened(resolved.read_text()))


def shortened(text: str) -> str:
    """The lock without the marker that every line has: the header says it once."""
    x86, arm = (f"(platform_machine == '{m}' and sys_platform == 'linux')" for m in ("aarch64", "x86_64"))
    return text.replace(f" ; implementation_name == 'cpython' and ({x86} or {arm})", "")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["cuda", *version]:
            compile_cuda_lock(*version)
        case ["cpu"]:
            compile_cpu_lock()
        case _:
            compile_locks()
