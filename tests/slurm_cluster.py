"""A real Slurm cluster of two hosts of a test's own (network namespaces), controller and daemons included."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hosts import ADDRESSES, ended, inside, two_hosts
from tests.programs import needed

CONFIGURATION = """ClusterName=test
SlurmctldHost={hosts[0]}({addresses[0]})
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/builtin
SelectType=select/linear
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/%n.log
NodeName={hosts[0]} NodeAddr={addresses[0]} CPUs=1 State=UNKNOWN
NodeName={hosts[1]} NodeAddr={addresses[1]} CPUs=1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""
READY_S = 60


@dataclass(frozen=True)
class Cluster:
    """Where commands run: on the first host, with programs of the test's own before the system's."""

    hosts: tuple[str, str]
    folder: Path

    def words(self, number: int, *words: str) -> list[str]:
        """What runs a command on a host, under that host's name and with both names known."""
        own = f'mount --bind {self.folder}/hosts /etc/hosts && hostname "$0" && exec "$@"'
        return inside(self.hosts[number], "unshare", "--mount", "--uts", "bash", "-c", own, self.hosts[number], *words)

    @property
    def env(self) -> dict[str, str]:
        path = f"{self.folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "SLURM_CONF": f"{self.folder}/slurm.conf", "HOME": str(self.folder)}

    def run(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess:
        """Run a command on the first host, in the cluster's folder."""
        line = ["env", f"--chdir={self.folder}", *words]
        return subprocess.run(self.words(0, *line), env=self.env, capture_output=True, text=True, timeout=timeout)


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Two nodes that wait for jobs; skips where network namespaces or Slurm are not to be had."""
    # a socket's path may have 108 characters, which a test's own folder takes up
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, _cluster(Path(name)) as made:
        yield made


@contextlib.contextmanager
def _cluster(folder: Path) -> Iterator[Cluster]:
    controller, daemon = needed("slurmctld", "slurmctld"), needed("slurmd", "slurmd")
    needed("sbatch", "slurm-client")
    with two_hosts() as hosts:
        names = "".join(f"{address} {host}\n" for address, host in zip(ADDRESSES, hosts, strict=True))
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        (folder / "slurm.conf").write_text(CONFIGURATION.format(hosts=hosts, addresses=ADDRESSES, folder=folder))
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # asks for none of it
        for name in ("state", "bin", *(f"spool-{host}" for host in hosts)):
            (folder / name).mkdir()
        made = Cluster(hosts, folder)
        running = []
        try:
            for number, words in ((0, [controller, "-D"]), *((n, [daemon, "-D", "-N", hosts[n]]) for n in (0, 1))):
                argv = made.words(number, *words)
                running.append(
                    subprocess.Popen(argv, env=made.env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                )
            _wait(made)
            yield made
        finally:
            ended(running, 20)


def _wait(made: Cluster) -> None:
    ends = time.monotonic() + READY_S
    while (seen := made.run("sinfo", "--noheader", "--format=%D %t").stdout.strip()) != "2 idle":
        logs = "".join(path.read_text()[-800:] for path in made.folder.glob("*.log"))
        assert time.monotonic() < ends, f"Slurm's nodes are {seen}\n{logs}"
        time.sleep(0.5)
