"""What runs side by side on one machine: each has devices or cores of its own, and none is given out twice."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import UsageError
from helpers.recipes import check_parameters, load_target
from helpers.recipes.command.replicas import VISIBLE
from maintain.batch.plan import PlannedRun


@dataclass(frozen=True)
class Slot:
    """What one run may use: `env` for its process, and the cores that it stays on (none: all of them)."""

    name: str
    env: dict[str, str]
    cores: frozenset[int] = frozenset()


class Pool:
    """Names that are handed out, each to one run at a time."""

    def __init__(self, names: Sequence[str]):
        self.names, self.free, self.changed = tuple(names), list(names), threading.Condition()

    @contextmanager
    def lease(self, count: int) -> Iterator[list[str]]:
        """`count` names, waited for; they are free again when the block ends."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.free) >= count)
            mine = [self.free.pop(0) for _ in range(count)]
        try:
            yield mine
        finally:
            with self.changed:
                self.free = [name for name in self.names if name in (*self.free, *mine)]
                self.changed.notify_all()


class Slots:
    """The accelerators and the cores of this machine, divided among up to `parallel` runs (0: as many as devices allow).

    Runs on GPUs take as many devices as they need. Runs on a CPU share its cores evenly, one run at a time unless `parallel`
    says more: side by side each has fewer.
    """

    def __init__(self, devices: Sequence[str], cores: Sequence[int], parallel: int = 0):
        if parallel > len(cores) and not devices:
            raise UsageError(
                f"{parallel} runs side by side on {len(cores)} cores",
                why="each needs one at least",
                do=f"pass --parallel {len(cores)} or less",
            )
        self.devices, self.cores = Pool(devices), sorted(cores)
        self.side_by_side = Pool([str(number) for number in range(parallel or 1)])
        self.workers = parallel or max(1, len(devices))

    @contextmanager
    def slot(self, run: PlannedRun) -> Iterator[Slot]:
        """A place for a run, waited for. `UsageError` where this machine has too few devices."""
        vendor, needed = need(run)
        if vendor == "cpu":
            with self.side_by_side.lease(1) as (name,):
                yield self._cores(int(name))
            return
        if needed > len(self.devices.names):
            raise UsageError(f"{run.name} needs {needed} devices", why=f"{len(self.devices.names)} are in sight here")
        # replicas number their devices from 0 themselves, so such a run has the machine for itself
        whole = check_parameters(load_target(run.target), run.given).replicas > 1
        with self.devices.lease(len(self.devices.names) if whole else needed) as mine:
            yield Slot(f"devices {','.join(mine)}", {} if whole else {VISIBLE[vendor]: ",".join(mine)})

    def _cores(self, number: int) -> Slot:
        several = len(self.side_by_side.names)
        mine = frozenset(self.cores[number * len(self.cores) // several : (number + 1) * len(self.cores) // several])
        if several == 1:
            return Slot("all cores", {})
        return Slot(f"cores {','.join(map(str, sorted(mine)))}", {"COOKBOOK_SLOT": str(number)}, mine)


def at_work(place: Path) -> Path:
    """The lock file that a run holds while its process lives, beside its folder."""
    return place.with_name(f".{place.name}.lock")


def need(run: PlannedRun) -> tuple[str, int]:
    """The vendor of the devices that a run takes, and how many; (cpu, 0) for one without."""
    target = load_target(run.target)
    parameters = check_parameters(target, run.given)
    if parameters.rehearse or target.match.vendor == "cpu":
        return "cpu", 0
    return target.match.vendor, parameters.tensor_parallel_size * parameters.replicas


def here(parallel: int = 0) -> Slots:
    """The slots of this machine: the devices that this process may see, the cores that it may run on."""
    from helpers.machine import preflight

    machine = preflight.detect()
    given = os.environ.get(VISIBLE.get(machine.vendor or "", ""), "")
    devices = given.split(",") if given else [str(gpu.index) for gpu in machine.gpus]
    return Slots(devices, sorted(os.sched_getaffinity(0)), parallel)
