"""Programs of the system that a test needs: continuous integration installs them, elsewhere the test says what is missing.

A person's machine is left alone: the packages bring services, some of which listen for everybody.
"""

import contextlib
import os
import shutil
import subprocess
from functools import cache

import pytest


def needed(program: str, package: str) -> str:
    """The path of a program; skips the test, with the package's name, where it cannot be had."""
    if not _installed(program, package):
        pytest.skip(f"{program} is not here: `apt-get install {package}` (Debian, Ubuntu) brings it")
    return shutil.which(program)


@cache
def _installed(program: str, package: str) -> bool:
    if not shutil.which(program) and os.environ.get("CI") and shutil.which("apt-get"):
        rights = [] if os.geteuid() == 0 else ["sudo", "-n"]
        apt = [*rights, "apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=120"]
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "--no-install-recommends", package]):
            with contextlib.suppress(FileNotFoundError):  # no sudo
                subprocess.run([*apt, *words], capture_output=True, env=env, timeout=300)
    return bool(shutil.which(program))
