"""The drill of a host without a network: a namespace without routes, from the parts of a bundle to a stopped server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.records.record import RunRecord
from maintain.delivery import pack

pytestmark = pytest.mark.full
# Loopback up, no route, then the command: what `ip link set lo up` does, on a host that may have no `ip`.
ENTER = """
import fcntl, os, socket, struct, sys
link, up = socket.socket(), lambda flags: struct.pack("16sh", b"lo", flags)
flags = struct.unpack("16sh", fcntl.ioctl(link, 0x8913, up(0)))[1]  # SIOCGIFFLAGS, SIOCSIFFLAGS (linux/sockios.h)
fcntl.ioctl(link, 0x8914, up(flags | 1))
assert len(open("/proc/net/route").read().splitlines()) == 1, "there is a route"
os.execvp(sys.argv[1], sys.argv[1:])
"""
SMALL = "-p concurrency '[1, 2]' -p input_tokens 32 -p output_tokens 16"


def offline(words: list[str], folder: Path, home: Path, seconds: int) -> subprocess.CompletedProcess:
    """Run a command in a network namespace without routes, with a bare environment."""
    inner = [sys.executable, "-I", "-S", "-c", ENTER, *words]
    env = {"HOME": str(home), "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    argv = ["unshare", "--net", *([] if os.getuid() == 0 else ["--map-root-user"]), *inner]
    return subprocess.run(argv, capture_output=True, text=True, cwd=folder, env=env, timeout=seconds)


@pytest.mark.drill("a host without a network: a namespace without routes, and nothing but Python and make")
def test_a_target_is_run_without_a_network(interpreter: Path, tmp_path: Path, said) -> None:
    """unpacked with Python alone, `make run` installs nothing and goes from cold to stopped, nothing is left"""
    home = tmp_path / "home"
    home.mkdir()
    if offline(["true"], tmp_path, home, 30).returncode:
        pytest.skip("this machine makes no network namespace")
    parts, there = tmp_path / "parts", tmp_path / "there"
    manifest = pack.bundle("cpu", parts, part_mb=500, level=0, report=lambda line: None)
    assert len(manifest["parts"]) > 4
    python = os.path.realpath(sys.executable)
    unpacked = offline([python, "-I", "-S", str(parts / "unbundle.py"), str(there)], tmp_path, home, 240)
    assert unpacked.returncode == 0, unpacked.stderr
    for part in parts.glob("part*"):
        part.unlink()
    run = offline(["make", "run", f"PYTHON={python}", f"ARGS={SMALL}"], there, home, 400)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    assert "installing" not in run.stdout
    record = RunRecord.read(there / "runs/latest/record.json")
    assert record.state == "passed" and len(record.throughput) == 2
    assert {c.name: c.state for c in record.contracts}["server.stopped"] == "passed"
    status = offline([str(there / ".venv/bin/cookbook"), "status"], there, home, 60)
    assert str(there) not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    said(status.stdout.strip().splitlines()[-1])
