"""A real Ray cluster of two hosts of a test's own (network namespaces): `ray start` on each, one CPU a node."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.hosts import ADDRESSES, as_host, ended, two_hosts

DASHBOARD = "http://127.0.0.1:8265"
COMMON = ("--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats", "--block")
READY_S = 90


@dataclass(frozen=True)
class Cluster:
    """Where commands run: on the head, with RAY_ADDRESS set."""

    hosts: tuple[str, str]
    env: dict[str, str]

    def run(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess:
        """Run a command on the head."""
        env = self.env | {"RAY_ADDRESS": DASHBOARD}
        return subprocess.run(as_host(self.hosts[0], *words), env=env, capture_output=True, text=True, timeout=timeout)

    @property
    def alive(self) -> int:
        """The nodes that have joined."""
        with contextlib.suppress(ValueError):
            told = json.loads(self.run("ray", "list", "nodes", "--format=json").stdout)
            return sum(node["state"] == "ALIVE" for node in told)
        return 0


@contextlib.contextmanager
def ray_cluster(env: dict[str, str]) -> Iterator[Cluster]:
    """Two nodes that wait for jobs, which get `env`; skips where network namespaces or Ray are not to be had."""
    if not shutil.which("ray"):
        pytest.skip("`ray` is not on the PATH: `pip install 'ray[default]'` in an environment of its own brings it")
    with two_hosts() as hosts:
        cluster, running = Cluster(hosts, os.environ | env), []
        head = ("--head", f"--node-ip-address={ADDRESSES[0]}", "--temp-dir=/dev/shm/ray")
        other = (f"--address={ADDRESSES[0]}:6379", f"--node-ip-address={ADDRESSES[1]}")
        try:
            for number, words in enumerate((head, other)):
                argv = as_host(hosts[number], "ray", "start", *words, *COMMON)
                running.append(
                    subprocess.Popen(argv, env=cluster.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                )
                ends = time.monotonic() + READY_S
                while cluster.alive <= number:
                    assert time.monotonic() < ends, f"node {number} does not join"
                    time.sleep(0.5)
            yield cluster
        finally:
            ended(running, 40)
