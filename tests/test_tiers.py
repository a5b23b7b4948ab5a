"""The tier check itself: a planted test without a marker that starts a process, or takes too long, fails and is named."""

import hashlib
import os
import subprocess
import sys
import threading
import time
import tomllib
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import rest
import tiers

from helpers.paths import ROOT

SCHEDSTAT = Path("/proc/thread-self/schedstat")  # where the kernel counts the wait for a core
PLANTED = """
import subprocess, time
import pytest

def test_quick(): pass

def test_starts(): subprocess.run(["true"])

@pytest.mark.real
def test_starts_with_a_marker(): subprocess.run(["true"])

def test_long(): time.sleep(0.4)

@pytest.mark.full
def test_later(): time.sleep(0.4)
"""


@pytest.mark.real
def test_a_test_in_the_wrong_tier_fails_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_planted.py").write_text(PLANTED)
    marks = 'markers = ["real: x", "full: x"]'
    (tmp_path / "pyproject.toml").write_text(f"[tool.pytest.ini_options]\n{marks}\n")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "tiers", "-p", "no:cacheprovider", "test_planted.py"]
    env = os.environ | {"PYTHONPATH": str(ROOT / "tests"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", tiers.STRETCH: "0.05"}
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 1
    failed = {line.split("::")[1].split()[0] for line in done.stdout.splitlines() if line.startswith("FAILED")}
    assert failed == {"test_starts", "test_long"}, done.stdout
    assert "test_starts: starts a process (['true']) and has no tier" in done.stdout
    assert (
        "test_long: took 0.4 s, and a test of `make quick` may take 0.3 s: shorten it, or mark it `real`" in done.stdout
    )
    assert "tiers: quick 3 in" in done.stdout and "test 1 in" in done.stdout and "test-all 1 in" in done.stdout


@pytest.mark.real
def test_two_workers_share_the_files_and_count_together(tmp_path: Path) -> None:
    """What asks for the shared server goes to one worker, a file to one worker, and the closing line counts both."""
    fixture = "import os, pytest\n@pytest.fixture\ndef session(): pass\n"
    test = '@pytest.mark.full\ndef test_{0}({1}): open("{0}-" + str(os.getpid()), "w")\n'
    for name, shared in (("a", "session"), ("b", "session"), ("c", ""), ("d", "")):
        lines = test.format(name, shared) + test.format(name * 2, shared)
        (tmp_path / f"test_{name}.py").write_text(fixture + lines)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["real: x", "full: x"]\n')
    words = ["-q", "-p", "xdist", "-p", "tiers", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadgroup"]
    env = os.environ | {"PYTHONPATH": str(ROOT / "tests"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    argv = [sys.executable, "-m", "pytest", *words]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout
    assert "test-all 8 in" in done.stdout, done.stdout
    ran = {file.name.split("-")[0]: file.name.split("-")[1] for file in tmp_path.glob("*-*")}
    assert ran["a"] == ran["b"] == ran["aa"] == ran["bb"] and ran["c"] == ran["cc"] and ran["d"] == ran["dd"], ran
    assert len(set(ran.values())) == 2, ran


def test_the_workers_take_the_longest_files_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick ones before all, then what shares the server, then by the record's seconds; a group has tests of one tier."""

    class Item:
        def __init__(self, nodeid: str, marks: tuple = (), fixtures: tuple = ()):
            self.nodeid, self.own_markers, self.fixturenames, self.groups = nodeid, list(marks), fixtures, []

        def iter_markers(self):
            return iter(self.own_markers)

        def add_marker(self, marker):
            self.groups.append(marker.args[0])

    real, full = (pytest.mark.real.mark,), (pytest.mark.full.mark,)
    monkeypatch.setattr(tiers, "seconds_by_file", lambda: {"a.py": 1.0, "b.py": 70.0, "b.py, test-all": 3.0})
    items = [
        Item("a.py::test_full", full),
        Item("a.py::test_real", real),
        Item("b.py::test_real", real),
        Item("new.py::test_real", real),
        Item("b.py::test_full", full),
        Item("new.py::test_shared", real, ("session",)),
        Item("b.py::test_quick"),
        Item("new.py::test_servers", (*full, pytest.mark.servers.mark)),
    ]
    tiers.pytest_collection_modifyitems(SimpleNamespace(workerinput={}), items)
    assert [(item.nodeid, *item.groups) for item in items] == [
        ("b.py::test_quick", "b.py quick"),
        ("new.py::test_shared", "shared"),
        ("b.py::test_real", "b.py real"),
        ("new.py::test_real", "new.py real"),
        ("a.py::test_real", "a.py real"),
        ("a.py::test_full", "a.py full"),
        ("new.py::test_servers", "servers"),
        ("b.py::test_full", "b.py full"),
    ]
    assert all(tiers.plain(f"{item.nodeid}@{item.groups[0]}") == item.nodeid for item in items)
    assert tiers.plain("a.py::test_x[root@host]") == "a.py::test_x[root@host]"


REST = """
import os, pytest
def said(name):
    with open("ran", "a") as file: file.write(name + (" worker\\n" if os.environ.get("PYTEST_XDIST_WORKER") else " alone\\n"))

@pytest.mark.full
def test_one(): said("one")

@pytest.mark.full
def test_two(): said("two")

@pytest.mark.full
@pytest.mark.measures
def test_three(): said("three")

def test_quick(): said("quick")
"""
MARKS = '[tool.pytest.ini_options]\nmarkers = ["real: x", "full: x", "measures: x"]\n'


def planted(folder: Path, source: str, *words: str) -> subprocess.CompletedProcess:
    """A suite of one file under the tiers: run with these words of Python."""
    (folder / "test_planted.py").write_text(source)
    (folder / "pyproject.toml").write_text(MARKS)
    (folder / "ran").unlink(missing_ok=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {"PYTHONPATH": str(ROOT / "tests"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    env["PYTEST_ADDOPTS"] = "-q -p xdist -p tiers -p no:cacheprovider"
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, env=env)


@pytest.mark.full
def test_the_rest_runs_each_test_once_and_alone_what_measures(tmp_path: Path) -> None:
    driver = str(ROOT / "tests" / "rest.py")
    done = planted(tmp_path, REST, driver, f"--junitxml={tmp_path}/rest.xml")
    assert done.returncode == 0, done.stdout
    assert sorted((tmp_path / "ran").read_text().split("\n")) == ["", "one worker", "three alone", "two worker"]
    assert [line.split(" in ")[0] for line in done.stdout.splitlines() if " passed" in line] == [
        "2 passed",
        "1 passed, 3 deselected",
    ]
    for name, tests in (("rest.xml", 2), ("rest-measures.xml", 1)):
        assert (tmp_path / name).read_text().count("<testcase ") == tests
    broken = planted(tmp_path, REST.replace('said("one")', 'said("one"); assert False'), driver)
    assert broken.returncode == 1 and "three alone" in (tmp_path / "ran").read_text(), "the other part ran all the same"


@pytest.mark.parametrize(
    ("ended", "status"),
    [([0, 0], 0), ([1, 0], 1), ([0, 1], 1), ([2, 1], 2), ([5, 0], 0), ([0, 5], 0), ([5, 1], 1), ([5, 5], 5)],
)
def test_the_rest_fails_where_a_part_does_or_nothing_ran(ended: list[int], status: int) -> None:
    assert rest.verdict(ended, selecting=True) == status


def test_a_part_that_no_argument_emptied_has_lost_its_tests() -> None:
    assert rest.verdict([0, 5], selecting=False) == rest.verdict([5, 0], selecting=False) == 5


@pytest.mark.real
def test_what_measures_fails_beside_another_worker(tmp_path: Path) -> None:
    done = planted(tmp_path, REST, "-m", "pytest", "-m", "full", "-n", "2", "--dist", "loadgroup")
    assert done.returncode == 1 and "test_three: measures, so it runs alone" in done.stdout, done.stdout
    assert "ERROR test_planted.py::test_three - " in done.stdout and "@" not in done.stdout, (
        "a name that can be run again"
    )
    assert "three" not in (tmp_path / "ran").read_text() and "2 passed" in done.stdout
    done = planted(
        tmp_path, REST.replace("@pytest.mark.full\n@pytest.mark.measures", "@pytest.mark.measures"), "-m", "pytest"
    )
    assert done.returncode == 4 and "test_three: `measures` without `full`" in done.stdout + done.stderr


def test_the_parts_of_the_rest_are_exactly_what_is_full() -> None:
    """For every choice of the suite's markers: `full` is in one part and in one only, anything else in none."""
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    names = [line.split(":")[0] for line in lines]
    assert {"real", "full", "measures"} <= set(names)
    for marks in product((False, True), repeat=len(names)):
        has = dict(zip(names, marks, strict=True))
        assert sum(bool(eval(selected, {}, has)) for selected in rest.PARTS) == has["full"], has


def test_what_the_host_gave_to_other_machines_is_not_the_tests_time() -> None:
    stat = "cpu  1 2 3 4 5 6 7 800 9 10\ncpu0 1 2 3 4 5 6 7 500 9 10\ncpu1 1 2 3 4 5 6 7 300 9 10\nintr 5\n"
    assert tiers.stolen(stat) == 800 / os.sysconf("SC_CLK_TCK") / 2


def test_the_wait_for_a_core_is_not_the_tests() -> None:
    """A sleep is the test's own and counts; what is subtracted is the kernel's word on a full run queue."""
    before = tiers.waited()
    time.sleep(0.3)
    assert 0 <= tiers.waited() - before < 0.25
    core, whole = {min(os.sched_getaffinity(0))}, os.sched_getaffinity(0)

    def busy() -> None:
        os.sched_setaffinity(0, core)  # of this thread alone
        began = time.thread_time()
        while time.thread_time() < began + 0.1:
            hashlib.sha256(bytes(2_000_000))  # without Python's own lock: two threads want the core

    before, beside = tiers.waited(), threading.Thread(target=busy)
    try:
        beside.start()
        busy()
        beside.join()
    finally:
        os.sched_setaffinity(0, whole)
    assert tiers.waited() - before > 0.02 or not SCHEDSTAT.exists()


def test_real_inside_full_is_refused() -> None:
    """`make test` selects `not full`: it would leave the test out that says it belongs there."""

    class Item:
        nodeid, own_markers = "test_x.py::test_x", [pytest.mark.real.mark]
        iter_markers = lambda self: [pytest.mark.real.mark, pytest.mark.full.mark]  # noqa: E731

    with pytest.raises(pytest.UsageError, match="`real` inside `full`"):
        tiers.tier_of(Item())


def test_two_tiers_are_refused() -> None:
    class Item:
        nodeid, own_markers = "test_x.py::test_x", [pytest.mark.real.mark, pytest.mark.full.mark]

    with pytest.raises(pytest.UsageError, match=r"test_x.py::test_x: in two tiers"):
        tiers.tier_of(Item())


def test_the_commands_run_each_test_once() -> None:
    """What the Makefile selects by marker is the three tiers, and CI's two commands are all of them."""
    makefile = (ROOT / "Makefile").read_text()
    for command, selected in (
        ("quick", '-m "not real and not full"'),
        ("test", '-m "not full"'),
        ("test-rest", "tests/rest.py"),
    ):
        rule = makefile.split(f"\n{command}: ")[1].split("\n\n")[0]
        assert selected in rule, command
    assert makefile.split("\ntest-all: ")[1].split(" ##")[0].split() == ["test", "test-rest"]
    assert (ROOT / ".ci" / "run").read_text().split()[-5:] == ["make", "test", "exec", "make", "test-rest"]
