"""The proof that a GPU stack's lock installs: for real, into a fresh folder, and that build's parser asked."""

import hashlib
import json
import platform
import re
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from helpers import paths
from helpers.errors import CookbookError
from helpers.files import write_whole
from helpers.machine.stack import ServingStack, ensure
from helpers.recipes import load_target, target_names
from maintain.combinations import combinations
from maintain.parser import check_recipes

FOLDER = paths.RECIPES / "checks"
VENDOR = {"cuda": "nvidia"}  # whose recipes are put before the build of a stack


class InstallRecord(BaseModel):
    """What an installation of a lock gave; written to recipes/checks/install-<stack>.json."""

    model_config = ConfigDict(extra="forbid")

    stack: str
    lock_sha256: str
    packages: int
    missing: list[str]  # packages of the lock that are not installed, or in another version
    versions: dict[str, str]
    machine: str
    install_s: float  # of the fresh installation, downloads included where nothing was cached
    installed: datetime
    disk_gib: float
    parser_platform: str
    commands: int
    targets: list[str]
    faults: list[str]
    state: str
    finished: datetime

    def write(self) -> Path:
        """Write the record; returns its path."""
        content = json.dumps(self.model_dump(mode="json"), indent=2) + "\n"
        return write_whole(FOLDER / f"install-{self.stack}.json", content)


def check_install(name: str, fresh: bool = True, report=print) -> InstallRecord:
    """Install the stack `name`, compare it with its lock and put the recipes before its parser.

    Without `fresh` the stack that is there is asked again; what its record says about the installation stays.
    """
    if name not in VENDOR:
        raise CookbookError(f"there is no installation check for {name!r}", do=f"use {', '.join(VENDOR)}")
    stack = ServingStack(name)
    sha256 = hashlib.sha256(stack.lock.read_bytes()).hexdigest()
    before = None if fresh else _earlier(name)
    if not fresh and (before is None or before.lock_sha256 != sha256 or not stack.ready()):
        raise CookbookError(
            f"the stack {name} as it is proves nothing",
            why="no record says that this lock was installed afresh, or the stack is not there",
            do="run `cookbook check-install` without --keep",
        )
    if fresh and stack.folder.exists():
        report(f"stack {name}: removing {paths.shown(stack.folder)} to install it anew")
        shutil.rmtree(stack.folder)
    began = time.monotonic()
    python = ensure(name, report=report)
    install_s = before.install_s if before else round(time.monotonic() - began, 1)
    installed_on = before.installed if before else datetime.now(UTC).replace(microsecond=0)
    locked, installed = _locked(stack.lock), _installed(python)
    missing = [f"{one}=={want}" for one, want in locked.items() if want not in {installed.get(one), None}]
    names = [target for target in target_names() if load_target(target).match.vendor == VENDOR[name]]
    report(f"stack {name}: asking its parser about {len(names)} targets")
    parsed = check_recipes(python, list(combinations(names)))
    faults = [fault.line() for fault in parsed.faults]
    record = InstallRecord(
        stack=name,
        lock_sha256=sha256,
        packages=len(installed),
        missing=missing,
        versions={one: installed[one] for one in ("vllm", "torch", "flashinfer-python", "oss-harmony", "triton")},
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        install_s=install_s,
        installed=installed_on,
        disk_gib=round(_size_gib(stack.folder), 2),
        parser_platform=parsed.platform,
        commands=parsed.commands,
        targets=names,
        faults=faults,
        state="failed" if faults or missing else "passed",
        finished=datetime.now(UTC).replace(microsecond=0),
    )
    record.write()
    return record


def _earlier(name: str) -> InstallRecord | None:
    path = FOLDER / f"install-{name}.json"
    return InstallRecord.model_validate_json(path.read_text()) if path.exists() else None


def _locked(lock: Path) -> dict[str, str]:
    """Package and version of the lines of a lock without a marker (those hold everywhere)."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+) \\$", lock.read_text(), re.M))


def _installed(python: Path) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, json, re; "
        "print(json.dumps({re.sub('[-_.]+', '-', d.name).lower(): d.version for d in m.distributions()}))"
    )
    return json.loads(subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout)


def _size_gib(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 2**30
