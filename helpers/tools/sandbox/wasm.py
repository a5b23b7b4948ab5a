"""The floor: Pyodide (CPython as WebAssembly) under Deno, which refuses everything it is not granted.

Deno rather than Node: Pyodide's `js` module hands a program the whole JavaScript runtime, and only Deno denies
that runtime files, network, environment and processes by default (Node's permission model leaves the network
open before version 25). Deno comes from PyPI, Pyodide's files from npm, both pinned in `setup`.
"""

import json
import os
import sys
from pathlib import Path

from helpers.paths import STACKS
from helpers.tools.sandbox.bubblewrap import interpreter, spare_id
from helpers.tools.sandbox.interpreter import Launch
from helpers.tools.sandbox.limits import MIB, Limits

HERE = Path(__file__).parent
HOME = STACKS / "wasm"
DENO = HOME / "deno" / "bin" / "deno"
PYODIDE = HOME / "pyodide"
# The runtime's own share: V8, the compiled module and the interpreter at rest (about 300 MiB resident).
RUNTIME_BYTES = 512 * MIB


class Wasm:
    """The rung: needs nothing of the host but the two packages; slower to start and to compute."""

    name = "wasm"
    slow_start = True  # seconds, not milliseconds: a spare one is kept ready

    def __init__(self) -> None:
        self.drop = False

    def describe(self) -> str:
        """One line for people: what contains the program."""
        return "wasm: Pyodide under Deno, no permission but reading its own files, killed at its limits"

    def why_not(self) -> str:
        """Empty where it works here; else why not."""
        for path in (DENO, PYODIDE / "pyodide.asm.wasm", PYODIDE / "python_stdlib.zip"):
            if not path.is_file():
                return "Deno and Pyodide are not installed (`.venv/bin/python -m helpers.tools.setup` does it)"
        said = ""
        for drop in (True, False) if os.geteuid() == 0 else (False,):
            self.drop = drop
            said = self.launch(Limits(), only=["--version"]).fault(30)
            if not said:
                return ""
        return f"deno does not start here: {said}"

    def launch(
        self, limits: Limits, data: Path | None = None, packages: Path | None = None, only: list[str] | None = None
    ) -> Launch:
        """How to start one interpreter; `packages` cannot be offered (they would need WebAssembly builds)."""
        place = str(PYODIDE.resolve()) + "/"
        readable = [place.rstrip("/"), str((HERE / "driver.mjs").resolve())]
        if data:
            readable.append(str(data.resolve()))
        settings = {
            "pyodide": place,
            "memory": limits.memory_bytes,
            "data": str(data.resolve()) if data else "",
            "cell": (HERE / "cell.py").read_text(),
        }
        command = [str(DENO.resolve()), *(only or self._run(readable)), *([] if only else [json.dumps(settings)])]
        # No address-space limit: V8 reserves far more than it uses. The watch bounds what is resident.
        bounds = {"RLIMIT_NOFILE": limits.open_files, "RLIMIT_CORE": 0, "RLIMIT_FSIZE": limits.file_bytes}
        argv = [str(interpreter()), "-I", "-S", "-c", (HERE / "launcher.py").read_text()]
        argv += [str(os.getpid()), json.dumps(bounds), *command]
        options: dict = {"cwd": "/"}
        if self.drop:
            identity = spare_id()
            options |= {"user": identity, "group": identity, "extra_groups": []}
        env = {"PATH": os.defpath, "NO_COLOR": "1", "DENO_DIR": "/nonexistent", "DENO_NO_UPDATE_CHECK": "1"}
        if sys.platform == "darwin":
            env["HOME"] = "/nonexistent"
        return Launch(
            argv=argv,
            env=env,
            options=options,
            base_processes=0,
            count_limit=4,  # Deno starts threads, never processes
            tree_bytes=limits.memory_bytes + RUNTIME_BYTES,
        )

    @staticmethod
    def _run(readable: list[str]) -> list[str]:
        flags = ["run", "--quiet", "--no-prompt", "--no-remote", "--no-npm", "--no-config", "--no-lock"]
        flags += ["--cached-only", "--allow-read=" + ",".join(readable)]
        flags += [f"--deny-{what}" for what in ("net", "env", "run", "write", "ffi", "sys", "import")]
        return [*flags, "--v8-flags=--max-old-space-size=256", str((HERE / "driver.mjs").resolve())]
