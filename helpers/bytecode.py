"""The bytecode of a serving environment, written when it is installed. Standard library only.

A start of vLLM runs three Python processes, and each imports some 4,900 modules: 6 CPU-seconds with bytecode, 15 without.
uv writes none by itself, and where PYTHONDONTWRITEBYTECODE is set (most container images) no start ever would.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

# Where nine in ten of those modules lie. All 20,000 files of the environment would take four times as long.
PACKAGES = ("vllm", "torch", "openai", "sympy", "networkx", "opentelemetry", "huggingface_hub", "pydantic")
LEFT_OUT = r"/(tests?|testing/_internal|model_executor/models)/"
FORBIDS = "PYTHONDONTWRITEBYTECODE"


def writing(env: Mapping[str, str]) -> dict[str, str]:
    """The same environment, in which Python keeps the bytecode that it compiles."""
    return {name: value for name, value in env.items() if name != FORBIDS}


def compile_stack(python: Path) -> None:
    """Compile the packages that a start imports, on all cores; what fails is compiled by the first start."""
    site = next((python.parent.parent / "lib").glob("python3.*/site-packages"), None)
    folders = [str(site / name) for name in PACKAGES if site and (site / name).is_dir()]
    if folders:
        argv = [str(python), "-m", "compileall", "-qq", "-j", "0", "-x", LEFT_OUT, *folders]
        # a file for a newer Python does not compile, which is no reason to stop
        subprocess.run(argv, env=writing(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
