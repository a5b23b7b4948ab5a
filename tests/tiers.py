"""The three tiers of the suite, and the check that every test is in the one that it belongs to.

| tier | command | marker | what its tests may do | longest test |
|---|---|---|---|---|
| quick | `make quick` | none | start no process | 6 s |
| test | `make test` | `real` | start vLLM, notebooks, sandboxes | 150 s |
| test-all | `make test-all` | `full` | the same, for longer | 480 s |

`make quick` runs the first, `make test` the first two, `make test-all` all three; each test is in exactly one tier. A test that
starts a process without a marker, or takes longer than its tier allows, fails here and is named.

Tests run on two workers. Those marked `measures` run afterwards, alone on the machine (tests/rest.py): their figures or limits
are those of an idle machine. On one of two workers such a test fails.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# seconds that one test may take, its own fixtures included, the wait for a core not
TIERS = {"quick": 6.0, "real": 150.0, "full": 480.0}
COMMANDS = {"quick": "quick", "real": "test", "full": "test-all"}  # marker -> its row in the closing lines
# audit events of a new process
STARTS = ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system")
STACK = {"interpreter", "session"}  # fixtures that install or start vLLM
QUERIES = ("pandoc", "git")  # programs that only answer: a run asks for its commit
SUITE = Path(__file__).parents[1] / "benchmarks" / "records" / "suite.json"  # the seconds of each file, as measured
NEW_S = 10.0  # of a file that it does not know
STRETCH = "COOKBOOK_TIER_STRETCH"  # a factor on the limits for a machine that is slower than two idle cores

_taken = pytest.StashKey[float]()
_waited = pytest.StashKey[float]()
_spent: dict[str, list[float]] = {}  # tier -> how many tests ran, and their seconds
_started: list[str] = []  # what the test under way has started


def tier_of(item: pytest.Item) -> str:
    """`quick`, `real` or `full`: the closest marker says; raises where there are two, or none on what needs vLLM's stack."""
    own = {marker.name for marker in item.own_markers} & {"real", "full"}
    if len(own) == 2 and not hasattr(item, "callspec"):
        raise pytest.UsageError(f"{item.nodeid}: in two tiers, real and full")
    tier = next((marker.name for marker in item.iter_markers() if marker.name in ("real", "full")), "quick")
    if tier == "real" and any(marker.name == "full" for marker in item.iter_markers()):
        raise pytest.UsageError(f"{item.nodeid}: `real` inside `full`, which `make test` would leave out")
    if tier == "quick" and (asked := STACK.intersection(getattr(item, "fixturenames", ()))):
        raise pytest.UsageError(f"{item.nodeid}: asks for {', '.join(sorted(asked))} and has no tier")
    if tier != "full" and any(marker.name == "measures" for marker in item.iter_markers()):
        raise pytest.UsageError(f"{item.nodeid}: `measures` without `full`: only tests/rest.py keeps such tests alone")
    return tier


def limit_of(tier: str) -> float:
    return TIERS[tier] * float(os.environ.get(STRETCH) or 1)


def group_of(item: pytest.Item, tier: str) -> str:
    """What goes to one worker as a whole: all that shares the server, all marked `servers`, else a file's tests of one tier."""
    if "session" in getattr(item, "fixturenames", ()):
        return "shared"
    if any(marker.name == "servers" for marker in item.iter_markers()):
        return "servers"
    return f"{item.nodeid.split('::')[0]} {tier}"


def plain(nodeid: str) -> str:
    """A test's name without the group that xdist writes behind it: `tests/test_x.py::test_y@shared`."""
    name, _, group = nodeid.rpartition("@")
    own = {"shared", "servers", *(f"{nodeid.split('::')[0]} {tier}" for tier in TIERS)}
    return name if name and group in own else nodeid


def row(file: str, tier: str) -> str:
    """The name that a file's seconds have in the record: those of `make test`, or those beyond it."""
    return f"{file}, {COMMANDS[tier]}" if tier == "full" else file


def seconds_by_file() -> dict[str, float]:
    """The record's rows; empty where there is none."""
    try:
        return {value["name"]: value["value"] for value in json.loads(SUITE.read_text())["values"]}
    except OSError:
        return {}


def waited() -> float:
    """Seconds for which this thread has stood in line for a core, or its core was another machine's: not the test's."""
    try:
        queued = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
        return queued + stolen(Path("/proc/stat").read_text())
    except (OSError, IndexError):  # this kernel does not count it
        return 0.0


def stolen(stat: str) -> float:
    """Seconds that the host gave to other machines, of one core in the mean: the field `steal` of /proc/stat.

    >>> stolen("cpu  1 2 3 4 5 6 7 800 9 10")
    8.0
    """
    cores = max(sum(line.startswith("cpu") for line in stat.splitlines()) - 1, 1)
    return int(stat.split()[8]) / os.sysconf("SC_CLK_TCK") / cores


def fault(tier: str, started: list[str], seconds: float) -> str:
    """Why a test is in the wrong tier; empty where it is in the right one."""
    if tier == "quick" and started:
        return f"starts a process ({started[0]}) and has no tier: mark it `real` (make test) or `full` (make test-all)"
    if seconds > limit_of(tier):
        later = {"quick": ", or mark it `real`", "real": ", or mark it `full`"}.get(tier, " or split it")
        return (
            f"took {seconds:.1f} s, and a test of `make {COMMANDS[tier]}` may take {limit_of(tier):g} s: shorten it{later}; "
            f"on a slow machine set {STRETCH}"
        )
    return ""


def pytest_configure(config: pytest.Config) -> None:
    _spent.update({tier: [0, 0.0] for tier in TIERS})
    config.option.loadscopereorder = False  # xdist's own order: the groups with most tests first

    def watch(event: str, args: tuple) -> None:
        if event in STARTS:
            words = args[1] if event == "subprocess.Popen" else event
            program = words if isinstance(words, str) else next(iter(words), "")
            if os.path.basename(os.fsdecode(program)) not in QUERIES:
                _started.append(str(words)[:100])

    sys.addaudithook(watch)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Every item has exactly one tier; the quick ones first, then what shares the server, then the longest files.

    The workers take the groups in this order, so that none is left with a long one at the end.
    """
    known = seconds_by_file()
    groups = {item: (tier := tier_of(item), group_of(item, tier)) for item in items}

    def place(item: pytest.Item) -> tuple[int, bool, float, str]:
        tier, group = groups[item]
        file = item.nodeid.split("::")[0]
        return list(TIERS).index(tier), group != "shared", -known.get(row(file, tier), NEW_S), file

    items.sort(key=place)
    for item in items if hasattr(config, "workerinput") else ():
        item.add_marker(pytest.mark.xdist_group(groups[item][1]))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What measures fails beside another worker, instead of measuring both."""
    if item.get_closest_marker("measures") and hasattr(item.config, "workerinput"):
        pytest.fail(f"{plain(item.nodeid)}: measures, so it runs alone: `make test-rest` does", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _started.clear()
    item.stash[_taken], item.stash[_waited] = 0.0, waited()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    item.stash[_taken] += call.duration if call.when != "teardown" else 0.0
    report.tier = tier_of(item)
    if call.when != "call":
        return report
    why = fault(tier_of(item), _started, item.stash[_taken] - (waited() - item.stash[_waited]))
    if why and report.outcome == "passed":
        report.outcome, report.longrepr = "failed", f"{plain(item.nodeid)}: {why}"
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count it here: of several workers, all report to this process. xdist's suffix is no part of a name to run again."""
    if hasattr(report, "node"):  # it came from a worker
        report.nodeid = plain(report.nodeid)
    counts = _spent[report.tier]
    counts[0] += report.when == "call" and report.outcome != "skipped"
    counts[1] += report.duration


def pytest_terminal_summary(terminalreporter) -> None:
    """The three counts: how many tests ran in each tier, and their seconds, of all workers together."""
    rows = [f"{COMMANDS[tier]} {count} in {seconds:.0f} s" for tier, (count, seconds) in _spent.items()]
    terminalreporter.write_line("tiers: " + " · ".join(rows))
