"""Programs of the system that a test needs: installed through apt-get where that may be, else the test says what is missing."""

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
    if not shutil.which(program) and shutil.which("apt-get") and os.geteuid() == 0:
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "--no-install-recommends", package]):
            subprocess.run(["apt-get", "-qq", "-y", *words], capture_output=True, env=env, timeout=300)
    return bool(shutil.which(program))
