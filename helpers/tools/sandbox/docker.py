"""The rung between: a container without network, capabilities or a writable root. Never run here."""

import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path

from helpers.tools.sandbox.bubblewrap import DATA, PACKAGES, WORK, config, source
from helpers.tools.sandbox.interpreter import Launch
from helpers.tools.sandbox.limits import Limits

IMAGE = "python:3.13-slim"
LABEL = "gpt-oss-cookbook.sandbox"
NOBODY = "65534:65534"


def arguments(limits: Limits, name: str, owner: int, data: Path | None, packages: Path | None) -> list[str]:
    """`docker run`'s argv for one interpreter; `owner` is the pid whose end makes the container a stray."""
    size = f"rw,nosuid,nodev,size={limits.disk_bytes},mode=1777"
    argv = ["docker", "run", "--rm", "--interactive", "--init", "--pull", "never"]
    argv += ["--name", name, "--label", f"{LABEL}={owner}"]
    argv += ["--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    argv += ["--user", NOBODY, "--pids-limit", str(limits.processes), "--cpus", "1"]
    argv += ["--memory", str(limits.memory_bytes), "--memory-swap", str(limits.memory_bytes)]
    argv += ["--ulimit", f"nofile={limits.open_files}", "--ulimit", f"fsize={limits.file_bytes}"]
    argv += ["--ulimit", "core=0", "--ipc", "private", "--log-driver", "none"]
    for place in ("/tmp", WORK):
        argv += ["--tmpfs", f"{place}:{size}"]
    argv += ["--shm-size", str(limits.disk_bytes), "--workdir", WORK]
    argv += ["--env", f"HOME={WORK}", "--env", "LANG=C.UTF-8"]
    if data:
        argv += ["--volume", f"{data.resolve()}:{DATA}:ro"]
    if packages:
        argv += ["--volume", f"{packages.resolve()}:{PACKAGES}:ro"]
    argv += [IMAGE, "python", "-I", "-S", "-B", "-X", "utf8", "-c", source()]
    return [*argv, config(limits, bool(packages))]


def strays(listing: str, alive) -> list[str]:
    """Container names whose owner is gone, from `docker ps --format '{{.Names}} {{.Label ...}}'`."""
    found = []
    for line in listing.splitlines():
        name, _, owner = line.partition(" ")
        if name and owner.strip().isdigit() and not alive(int(owner)):
            found.append(name)
    return found


class Docker:
    """The rung: wants a reachable engine that already holds the image."""

    name = "docker"
    slow_start = True

    def describe(self) -> str:
        """One line for people: what contains the program."""
        return f"docker: {IMAGE} without network and capabilities, read-only, bounded memory and pids"

    def why_not(self) -> str:
        """Empty where it works here; else why not. Also removes containers whose server is gone."""
        if not shutil.which("docker"):
            return "docker is not installed"
        for question, answer in (
            (["docker", "version", "--format", "{{.Server.Version}}"], "no docker engine answers"),
            (["docker", "image", "inspect", IMAGE], f"the image is missing (`docker pull {IMAGE}`)"),
        ):
            try:
                done = subprocess.run(question, capture_output=True, text=True, timeout=10)
            except (OSError, subprocess.TimeoutExpired):
                return answer
            if done.returncode:
                return answer
        self._reap()
        return ""

    def _reap(self) -> None:
        import psutil

        form = '{{.Names}} {{.Label "' + LABEL + '"}}'
        listing = subprocess.run(
            ["docker", "ps", "--filter", f"label={LABEL}", "--format", form], capture_output=True, text=True
        )
        for name in strays(listing.stdout, psutil.pid_exists):
            subprocess.run(["docker", "kill", name], capture_output=True)

    def launch(self, limits: Limits, data: Path | None = None, packages: Path | None = None) -> Launch:
        """How to start one interpreter; ending it kills the container by name (the client alone is not it)."""
        name = f"gpt-oss-python-{secrets.token_hex(6)}"
        argv = arguments(limits, name, os.getpid(), data, packages)
        env = {key: os.environ[key] for key in ("PATH", "HOME", "DOCKER_HOST", "XDG_RUNTIME_DIR") if key in os.environ}

        def kill() -> None:
            subprocess.run(["docker", "kill", name], capture_output=True, env=env)

        return Launch(argv=argv, env=env, on_end=kill)


def shown(argv: list[str]) -> str:
    """The command for readers, the inside program's text left out."""
    text = source()
    return json.dumps([("<agent.py>" if part == text else part) for part in argv])
