"""Advisories, licences and bills of materials: what is said of what is installed."""

import json
import re
from pathlib import Path

import pytest

from helpers.errors import CookbookError
from helpers.paths import LOCKS
from helpers.tools import setup
from maintain.delivery.supply import OPEN, PAGE, judged
from maintain.locks import with_torch_of

LOCK = Path("some.txt")


def test_an_advisory_is_open_and_a_package_that_nobody_knows_is_named() -> None:
    hole = {"id": "PYSEC-1", "fix_versions": ["2"]}
    found = judged(
        LOCK,
        [
            {"name": "a", "version": "1", "vulns": [hole]},
            {"name": "b", "version": "1", "vulns": []},
            {"name": "c", "skip_reason": "not found"},
        ],
    )
    assert found == ["some: c: not looked up: not found", f"{OPEN}some: a 1: PYSEC-1, fixed in 2"]


def test_an_index_without_advisories_clears_nothing() -> None:
    with pytest.raises(CookbookError, match=r"no advisory of some\.txt was looked up because not found"):
        judged(LOCK, [{"name": "a", "skip_reason": "not found"}])


def test_every_package_of_the_workbench_and_of_the_cpu_stack_has_its_licence_on_the_page() -> None:
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.M)
    listed = {
        (re.sub(r"[-_.]+", "-", name).lower(), place) for name, _, _, where in rows for place in where.split(", ")
    }
    for place, lock in (("workbench", "workbench.txt"), ("cpu", "cpu.txt")):
        pinned = re.findall(r"^([\w.-]+)==\S+ \\$", (LOCKS / lock).read_text(), re.M)  # no marker: it is installed
        missing = [name for name in pinned if (re.sub(r"[-_.]+", "-", name).lower(), place) not in listed]
        assert len(pinned) > 100 and missing == [], (
            f"{place}: run `.venv/bin/python -m maintain.delivery.supply licences`"
        )


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_pin_has_the_hashes_of_its_files(lock: Path) -> None:
    """uv and pip install with --require-hashes, and refuse a lock in which one pin has none."""
    lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    pins = [at for at, line in enumerate(lines) if not line.startswith(" ")]
    assert len(pins) > 50
    assert [lines[at] for at in pins if "    --hash=sha256:" not in "".join(lines[at + 1 : at + 2])] == []
    assert [
        line for line in lines if not re.fullmatch(r"[\w.-]+==[^\\]+ \\| +--hash=sha256:[0-9a-f]{64}(?: \\)?", line)
    ] == []


def test_torch_keeps_the_hashes_of_its_index_where_a_folder_holds_one_wheel() -> None:
    """PyTorch's index has a wheel for each Python and processor, a folder of wheels may have one."""
    before, seen = (f"a==1\ntorch==1 \\\n    --hash=sha256:{digest}\n" for digest in "bc")
    assert with_torch_of(before, seen).split() == ["a==1", "torch==1", "\\", "--hash=sha256:b", "\\", "--hash=sha256:c"]
    newer = seen.replace("torch==1", "torch==2")
    assert with_torch_of(before, newer) == newer, "another release has other files"


def test_torch_of_the_cpu_lock_is_hashed_for_every_python_and_both_processors() -> None:
    """Eight wheels of PyTorch's CPU index: CPython 3.11 to 3.14 on x86-64 and aarch64."""
    entry = re.search(r"^torch==\S+\+cpu(?: \\\n +--hash=\S+)+", (LOCKS / "cpu.txt").read_text(), re.M)
    assert entry and entry[0].count("--hash") >= 8


def test_the_sandboxs_parts_are_fetched_by_hash() -> None:
    """Deno by uv, Pyodide by Deno: the versions that setup names are the ones whose hashes it demands."""
    pins = (setup.SANDBOX / "deno.txt").read_text()
    lock = json.loads((setup.SANDBOX / "deno.lock").read_text())
    assert pins.startswith(f"deno=={setup.DENO_VERSION} \\\n") and pins.count("--hash=sha256:") >= 2
    assert lock["specifiers"] == {f"npm:pyodide@{setup.PYODIDE_VERSION}": setup.PYODIDE_VERSION}
    assert all(package["integrity"].startswith("sha512-") for package in lock["npm"].values())
