"""A local package index and a tiny stack that installs from it: every interruption of an installation is quick."""

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from helpers.paths import ROOT

PACKAGES = {"drillone": 200, "drilltwo": 200, "drillthree": 20}  # files each
# The install command of the product on the tiny stack: only where its lock lies differs.
INSTALL = """
import sys
from pathlib import Path
from helpers.errors import CookbookError
from helpers.machine.stack import environment
environment.LOCKS = Path(sys.argv[1])
environment.DISK_GIB["tiny"] = float(sys.argv[2])
try:
    print(environment.ensure("tiny"))
except CookbookError as error:
    print("cookbook:", error.line(), file=sys.stderr)
    sys.exit(error.exit_code)
"""


def wheel(folder: Path, name: str, files: int) -> Path:
    """In an index folder, a pure Python wheel with that many modules and a RECORD with their hashes."""
    info, rows = f"{name}-1.0.dist-info", []
    path = folder / name / f"{name}-1.0-py3-none-any.whl"
    path.parent.mkdir()
    (path.parent / "index.html").write_text(f'<a href="{path.name}">{path.name}</a>')
    content = {f"{name}/__init__.py": b"WHOLE = True\n"}
    content |= {f"{name}/part{at}.py": f"VALUE = {at}\n".encode() * 200 for at in range(files)}
    content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    content[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: drill\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in content.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{entry},sha256={digest},{len(data)}")
            archive.writestr(entry, data)
        archive.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,"]) + "\n")
    return path


class Tiny:
    """The tiny stack of one drill: its wheels, its lock, its stacks folder."""

    def __init__(self, folder: Path, stacks: Path | None = None):
        self.wheels, self.locks, self.stacks = (folder / "wheels", folder / "locks", stacks or folder / "stacks")
        self.wheels.mkdir()
        self.locks.mkdir()
        pins = ""
        for name, files in PACKAGES.items():
            content = wheel(self.wheels, name, files).read_bytes()
            pins += f"{name}==1.0 --hash=sha256:{hashlib.sha256(content).hexdigest()}\n"
        (self.locks / "tiny.txt").write_text(pins)
        self.env = {
            "COOKBOOK_STACKS": str(self.stacks),
            "UV_DEFAULT_INDEX": self.wheels.as_uri(),
            "UV_CACHE_DIR": str(folder / "uv-cache"),
            "UV_HTTP_RETRIES": "0",
            "UV_HTTP_TIMEOUT": "2",
        }

    def start(self, disk_gib: float = 0.0, **env: str) -> subprocess.Popen:
        """The installation as a process of its own."""
        whole = {key: value for key, value in (os.environ | self.env | env).items() if value}
        return subprocess.Popen(
            [sys.executable, "-c", INSTALL, str(self.locks), str(disk_gib)],
            cwd=ROOT,
            env=whole,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, disk_gib: float = 0.0, **env: str) -> subprocess.CompletedProcess:
        """The installation, waited for."""
        process = self.start(disk_gib, **env)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @property
    def stamp(self) -> Path:
        return self.stacks / "tiny" / ".ready"

    def faults(self) -> list[str]:
        """Files of the wheels that the stack lacks or has otherwise: empty when it is whole."""
        (site,) = (self.stacks / "tiny" / "lib").glob("python3*/site-packages")
        wrong = []
        for name in PACKAGES:
            with zipfile.ZipFile(self.wheels / name / f"{name}-1.0-py3-none-any.whl") as archive:
                for entry in archive.namelist():
                    there = site / entry
                    if not entry.endswith("RECORD") and (
                        not there.is_file() or there.read_bytes() != archive.read(entry)
                    ):
                        wrong.append(entry)
        return wrong

    def cut(self, name: str) -> int:
        """Put a package where uv puts it, its metadata whole and half of its modules cut off; how many were cut."""
        (site,) = (self.stacks / "tiny" / "lib").glob("python3*/site-packages")
        with zipfile.ZipFile(self.wheels / name / f"{name}-1.0-py3-none-any.whl") as archive:
            archive.extractall(site)
        modules = sorted((site / name).glob("part1*.py"))
        for path in modules:
            data = path.read_bytes()
            path.unlink()  # never through a link into uv's cache
            path.write_bytes(data[:7])
        return len(modules)

    def whole(self) -> str:
        """The next run works: it is stamped, every file is there, its Python imports them. Returns what it says."""
        done = self.run()
        assert done.returncode == 0, done.stderr
        assert self.stamp.exists() and not self.faults(), self.faults()[:5]
        code = ";".join(f"import {name}; assert {name}.WHOLE" for name in PACKAGES)
        subprocess.run([str(self.stacks / "tiny" / "bin" / "python"), "-c", code], check=True)
        return next((line for line in reversed(done.stdout.splitlines()) if line.startswith("stack ")), "already whole")
