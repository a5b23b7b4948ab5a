"""Tools of the drills: processes known by a token, ports, small file systems, and the line that a user sees."""

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.paths import ROOT
from helpers.server import Server, free_port, launch, leases, port_free
from helpers.server import lease as lease_module

TOKEN = "COOKBOOK_DRILL"  # in the environment of everything that a drill starts
STAND_IN = Path(__file__).parents[1] / "health_server.py"
ILL = Path(__file__).with_name("ill_server.py")
OWNER = """
import signal, sys, time
from pathlib import Path
from helpers.errors import CookbookError
from helpers.server import launch
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a suite under nohup ignores it, and so would its children
try:
    server = launch({argv!r}, {{}}, port={port}, log=Path({log!r}), target="drill", model="none",
                    report=lambda *_: None, kept={kept})
except CookbookError as error:
    print("refused", error.line(), flush=True)
    sys.exit(error.exit_code)
print("ready", server.lease.id, server.attached, flush=True)
"""
WAIT = "\ntime.sleep(300)\n"


def wait(condition: Callable[[], object], seconds: float = 15.0, every: float = 0.05) -> bool:
    """Whether the condition comes true in time, looked at every so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(every)
    return bool(condition())


def cleaned(text: str) -> str:
    """A message without what differs from run to run and from machine to machine."""
    text = re.sub(r"(?<![\w./])/(?:[^\s/:;,'\")]+/)*([^\s/:;,'\")]+)", r"…/\1", text)
    text = re.sub(r"\bpid \d+", "pid N", text)
    text = re.sub(r"(\bport |127\.0\.0\.1:|--port )\d+", r"\1N", text)
    return re.sub(r"\b\d+(?:\.\d+)? s\b", "N s", text)


def processes_of(token: str) -> dict[int, str]:
    """The living processes that carry the token, with their command lines; this one is left out."""
    found, needle = {}, f"{TOKEN}={token}".encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                if needle in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    found[int(entry)] = Path(f"/proc/{entry}/cmdline").read_text().replace("\0", " ")[:120]
    return found


def command_of(pid: int) -> str:
    """A process's command line; empty once it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def children_of(pid: int) -> list[int]:
    """The pids of a process's living children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Place:
    """One drill's corner: a token for its processes, a port, a cache folder with its leases, a log."""

    def __init__(self, folder: Path):
        self.folder, self.token = folder, secrets.token_hex(6)
        self.cache, self.port, self.log = folder / "cache", free_port(), folder / "server.log"

    def isolate(self, monkeypatch: pytest.MonkeyPatch, cache: Path | None = None) -> None:
        """Keep leases of this process and of those that it starts in the drill's own cache."""
        self.cache = cache or self.cache
        monkeypatch.setenv("COOKBOOK_CACHE", str(self.cache))
        monkeypatch.setenv(TOKEN, self.token)
        monkeypatch.setattr(lease_module, "FOLDER", self.cache / "leases")

    def argv(self, *words: str, script: Path = STAND_IN, port: int = 0) -> list[str]:
        return [sys.executable, str(script), "--port", str(port or self.port), *words]

    def launch(self, *words: str, script: Path = STAND_IN, port: int = 0, **options) -> Server:
        """A stand-in server that this process owns."""
        options = {"log": self.log, "target": "drill", "model": "none", "report": lambda *_: None} | options
        port = port or self.port
        return launch(self.argv(*words, script=script, port=port), options.pop("env", {}), port=port, **options)

    def owner_code(
        self, *words: str, port: int = 0, kept: bool = False, then: str = WAIT, folder: Path | None = None
    ) -> str:
        """A program that launches the stand-in with its log in `folder`, says `ready`, and stays."""
        port = port or self.port
        log = (folder or self.folder) / f"owner-{secrets.token_hex(2)}.log"
        return OWNER.format(argv=self.argv(*words, port=port), port=port, log=str(log), kept=kept) + then

    def owner(self, *words: str, env: dict[str, str] | None = None, **options) -> subprocess.Popen:
        """A process that owns a server, as a kernel does; not waited for."""
        return subprocess.Popen(
            [sys.executable, "-c", self.owner_code(*words, **options)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | (env or {}),
            start_new_session=True,
        )

    def left(self) -> list[str]:
        """What of the drill is still there: processes, leases, the port."""
        found = [f"pid {pid}: {words}" for pid, words in processes_of(self.token).items()]
        found += [f"lease {path.name}" for path in (self.cache / "leases").glob("*.json")]
        return found + ([] if port_free(self.port) else [f"port {self.port}"])

    def assert_nothing_left(self, seconds: float = 15.0) -> None:
        assert wait(lambda: not self.left(), seconds), self.left()

    def works(self, *words: str, **options) -> None:
        """The next run: it launches, is no attach to something old, serves, and stops clean."""
        self.assert_nothing_left()
        server = self.launch(*words, **options)
        assert not server.attached and server.running()
        assert "no process is left" in server.stop()
        self.assert_nothing_left()

    def clear(self) -> None:
        """Kill what a failed drill left; only processes with this drill's token."""
        for pid in processes_of(self.token):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def lease(self):
        """The one lease of the drill."""
        (found,) = leases()
        return found


class SmallDisk:
    """A tmpfs of a few KiB."""

    def __init__(self, folder: Path, kib: int):
        self.folder = folder
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "drill", str(folder)], check=True)

    def fill(self, leave: int = 0) -> Path:
        """Write until nothing fits any more, but for `leave` bytes."""
        ballast = self.folder / "ballast"
        with open(ballast, "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        if leave:
            os.truncate(ballast, max(0, ballast.stat().st_size - leave))
        return ballast

    def remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.folder)], check=True)

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


def mounting_refused() -> str:
    """Why no small file system can be mounted here; empty when it can."""
    if os.geteuid():
        return "mounting a small disk needs root"
    with Path("/proc/self/status").open() as status:
        caps = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff"))
    return "" if caps >> 21 & 1 else "mounting a small disk is not allowed here (no CAP_SYS_ADMIN)"


def program(code: str, **env: str) -> subprocess.CompletedProcess:
    """Run a program that uses the helpers; a `CookbookError` ends it as it ends the command line."""
    whole = (
        "import sys\nfrom helpers.errors import CookbookError\nfrom pathlib import Path\ntry:\n"
        + textwrap.indent(textwrap.dedent(code).strip(), "    ")
        + "\nexcept CookbookError as error:\n    print('cookbook:', error.line(), file=sys.stderr)\n"
        "    sys.exit(error.exit_code)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", whole], cwd=ROOT, env=os.environ | env, capture_output=True, text=True, timeout=120
    )


def complaint(done: subprocess.CompletedProcess, code: int = 1) -> str:
    """The one line on stderr of a command that failed with this exit code."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert len(lines) == 1 and lines[0].startswith("cookbook: "), done.stderr
    return lines[0]
