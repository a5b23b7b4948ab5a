"""Two hosts of a test's own: network namespaces, connected by a pair of virtual interfaces; needs root and Linux."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

ADDRESSES, INTERFACE = ("10.213.77.1", "10.213.77.2"), "veth0"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def inside(host: str, *words: str) -> list[str]:
    """The words that run a command on a host."""
    return ["ip", "netns", "exec", host, *words]


def as_host(host: str, *words: str) -> list[str]:
    """The same with a name and shared memory of the host's own: processes of two hosts cannot meet in /dev/shm."""
    own = 'mount -t tmpfs tmpfs /dev/shm && hostname "$0" && exec "$@"'
    return inside(host, "unshare", "--mount", "--ipc", "--uts", "bash", "-c", own, host, *words)


def ended(running: list[subprocess.Popen], patience_s: float) -> None:
    """End what was started on the hosts, the last first: SIGTERM, so many seconds for each, SIGKILL."""
    for one in reversed(running):
        one.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.wait(patience_s)
        one.kill()


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """The names of two connected hosts, whose addresses are `ADDRESSES`; skips where they cannot be made."""
    if not shutil.which("ip") or os.geteuid() != 0:
        pytest.skip("two hosts need root and `ip` (Debian, Ubuntu: the package iproute2) for network namespaces")
    first, second = (f"cookbook-{os.getpid()}-{number}" for number in (0, 1))
    try:
        try:
            ip("netns", "add", first)
            ip("netns", "add", second)
            ip("link", "add", INTERFACE, "netns", first, "type", "veth", "peer", "name", INTERFACE, "netns", second)
        except subprocess.CalledProcessError as refused:
            pytest.skip(f"this machine makes no network namespaces: {refused.stderr.strip()}")
        for host, address in zip((first, second), ADDRESSES, strict=True):
            ip("-n", host, "address", "add", f"{address}/24", "dev", INTERFACE)
            for name in ("lo", INTERFACE):
                ip("-n", host, "link", "set", name, "up")
        yield first, second
    finally:
        for host in (first, second):
            subprocess.run(["ip", "netns", "del", host], capture_output=True)
