"""Installs what the sandbox rungs need: bubblewrap through apt-get (as root), Deno and Pyodide into .stacks/wasm.

`python -m helpers.tools.setup` is idempotent and touches nothing that is in place already.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from uv import find_uv_bin

from helpers.errors import CookbookError
from helpers.machine.index import uv_environment  # pip's own settings, for uv
from helpers.tools.sandbox.wasm import DENO, HOME

DENO_VERSION = "2.9.8"  # PyPI, with the binary inside
PYODIDE_VERSION = "314.0.7"  # npm, CPython 3.14 for WebAssembly with its standard library
SANDBOX = Path(__file__).parent / "sandbox"  # with the hashes of what is fetched: deno.txt for uv, deno.lock for Deno
WANTED = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")


def bubblewrap() -> str:
    """Install bubblewrap where that is possible; returns what happened, in words."""
    if shutil.which("bwrap"):
        return "bubblewrap: already here"
    if not sys.platform.startswith("linux") or not shutil.which("apt-get"):
        return "bubblewrap: not installed (no apt-get; the WASM rung will serve)"
    if os.geteuid() != 0:
        return "bubblewrap: not installed (ask for `apt-get install bubblewrap`; the WASM rung will serve)"
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["install"], ["update"], ["install"]):
        argv = ["apt-get", *command, "-y", *(["--no-install-recommends", "bubblewrap"] * (command == ["install"]))]
        subprocess.run(argv, capture_output=True, env=env, timeout=600)
        if shutil.which("bwrap"):
            return "bubblewrap: installed"
    return "bubblewrap: apt-get could not install it (the WASM rung will serve)"


def wasm() -> str:
    """Install Deno and Pyodide into .stacks/wasm, pinned; returns what happened, in words."""
    stamp = HOME / f"{DENO_VERSION}-{PYODIDE_VERSION}-snapshot"
    if stamp.exists():
        return "wasm: already here"
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as scratch:
        _deno(Path(scratch))
        _pyodide(Path(scratch))
    stamp.touch()
    return f"wasm: installed Deno {DENO_VERSION} and Pyodide {PYODIDE_VERSION}"


def _deno(scratch: Path) -> None:
    env = uv_environment(dict(os.environ), sys.executable)
    argv = [find_uv_bin(), "pip", "install", "--quiet", "--require-hashes", "--target", str(scratch / "deno")]
    argv += ["-r", str(SANDBOX / "deno.txt")]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=900)
    if done.returncode:
        raise CookbookError("Deno could not be installed", why=done.stderr.strip()[-400:], do="check the package index")
    _replace(scratch / "deno", HOME / "deno")


def _pyodide(scratch: Path) -> None:
    """Fetch the npm package through the Deno just installed, which is an npm client too."""
    (scratch / "package.json").write_text(json.dumps({"dependencies": {"pyodide": PYODIDE_VERSION}}))
    shutil.copyfile(SANDBOX / "deno.lock", scratch / "deno.lock")
    argv = [str(DENO), "install", "--quiet", "--node-modules-dir=auto", "--frozen"]
    env = {**os.environ, "DENO_DIR": str(scratch / "cache")}
    done = subprocess.run(argv, cwd=scratch, capture_output=True, text=True, timeout=900, env=env)
    package, target = scratch / "node_modules" / "pyodide", scratch / "pyodide"
    if done.returncode or not package.is_dir():
        raise CookbookError(
            "Pyodide could not be installed", why=done.stderr.strip()[-400:], do="check the npm registry's settings"
        )
    target.mkdir()
    for name in WANTED:
        shutil.copyfile(package / name, target / name)
    _finish(target)


def _finish(target: Path) -> None:
    """Deno reads the file the lock names; a wrong standard library would fail late and oddly, so look now."""
    lock = json.loads((target / "pyodide-lock.json").read_text())
    module = (target / "pyodide.asm.wasm").read_bytes()
    if not module.startswith(b"\0asm"):
        raise CookbookError("Pyodide's download is damaged", why="pyodide.asm.wasm is no WebAssembly")
    place = str(target.resolve()) + "/"
    argv = [str(DENO), "run", "--quiet", "--no-prompt", "--no-remote", "--no-npm", "--no-config"]
    argv += [
        f"--allow-read={place}",
        f"--allow-write={place}",
        str(SANDBOX / "snapshot.mjs"),
        place,
        place + "snapshot.bin",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    if done.returncode:  # only slower without
        print(f"wasm: no snapshot ({done.stderr.strip()[-200:]})", file=sys.stderr)
    (target / "VERSION").write_text(
        f"{PYODIDE_VERSION} python {lock['info']['python']} {hashlib.sha256(module).hexdigest()[:16]}\n"
    )
    for path in [target, *target.iterdir()]:
        path.chmod(0o755 if path.is_dir() else 0o644)  # the sandbox's own id reads them
    _replace(target, HOME / "pyodide")


def _replace(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    os.replace(source, target)


def main() -> None:
    print(bubblewrap())
    print(wasm())


if __name__ == "__main__":
    main()
