"""vLLM's own demo tools (`--tool-server demo`): what they need, and how to give it to them apart from everything else.

They import gpt_oss into vLLM's process: its package wants Python 3.12, and its dependency openai-harmony overwrites
the oss-harmony that vLLM needs, so both live in a stack of their own with that dependency left out. Never run here.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers.paths import STACKS, shown

GPT_OSS = "gpt-oss==0.0.9"
MIN_PYTHON = (3, 12)  # gpt-oss 0.0.9: Requires-Python >=3.12,<3.13
STACK = STACKS / "demo-tools"
BACKENDS = ("docker", "dangerously_use_uv", "dangerously_use_local_jupyter")  # PYTHON_EXECUTION_BACKEND's values


@dataclass(frozen=True)
class Need:
    """One condition of the demo tools: whether it holds, and the fix where it does not."""

    name: str
    holds: bool
    fix: str = ""


def needs(python: Path | None = None, environ: Mapping[str, str] = os.environ, docker=None) -> list[Need]:
    """Each need of the demo tools in the interpreter that holds vLLM (the demo stack's by default)."""
    python = python or STACK / "bin" / "python"
    facts = _facts(python)
    docker = docker_engine if docker is None else docker
    found = [
        Need("a stack of its own", bool(facts), "create it with the commands of `cookbook tools demo`"),
        Need(
            "Python 3.12 in it",
            facts.get("python", "").startswith("3.12"),
            f"it holds {facts.get('python') or 'none'}: gpt-oss installs on 3.12 only",
        ),
        Need("gpt_oss 0.0.7 or later in it", facts.get("gpt_oss", "") >= "0.0.7", f"install {GPT_OSS}"),
        Need(
            "vLLM's oss-harmony intact in it",
            bool(facts.get("oss_harmony")) and not facts.get("openai_harmony"),
            "`pip uninstall openai-harmony`, then `pip install --force-reinstall --no-deps oss-harmony`",
        ),
        Need("a docker engine that answers", docker(), "start docker: the demo python tool runs in a container"),
        Need("a key in EXA_API_KEY", bool(environ.get("EXA_API_KEY")), "set it: the demo browser knows Exa only"),
    ]
    backend = environ.get("PYTHON_EXECUTION_BACKEND", "docker")
    found.append(
        Need(
            "PYTHON_EXECUTION_BACKEND as gpt_oss spells it",
            backend == "docker",
            f"{backend!r} runs the model's code with this account's rights"
            if backend in BACKENDS
            else f"{backend!r} is unknown and silently means docker",
        )
    )
    return found


def commands() -> list[str]:
    """The shell lines that make the stack and serve with the demo tools."""
    place = shown(STACK)
    return [
        f"uv venv --python 3.12 {place}",
        f"echo openai-harmony > {place}/excludes.txt",
        f"uv pip install --python {place}/bin/python --excludes {place}/excludes.txt vllm==0.32.0 '{GPT_OSS}'",
        "docker pull python:3.11",
        f"PYTHON_EXECUTION_BACKEND=docker {place}/bin/vllm serve openai/gpt-oss-20b --host 127.0.0.1 --tool-server demo",
    ]


def docker_engine() -> bool:
    """Whether a docker engine answers."""
    if not shutil.which("docker"):
        return False
    try:
        done = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _facts(python: Path) -> dict[str, str]:
    """Versions inside an interpreter; empty where there is none."""
    import json

    code = (
        "import json, sys\nfrom importlib.metadata import version, PackageNotFoundError\n"
        "facts = {'python': '.'.join(map(str, sys.version_info[:3]))}\n"
        "for name in ('gpt_oss', 'oss_harmony', 'openai_harmony', 'vllm'):\n"
        "    try: facts[name] = version(name)\n    except PackageNotFoundError: pass\n"
        "print(json.dumps(facts))"
    )
    if not python.exists():
        return {}
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout) if done.returncode == 0 else {}
