"""Advisories, licences and bills of materials: what is said of what is installed."""

import re
from pathlib import Path

import pytest

from helpers.errors import CookbookError
from helpers.paths import LOCKS
from maintain.delivery.supply import OPEN, PAGE, judged

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
        pinned = re.findall(
            r"^([\w.-]+)==\S+(?: \\\\)?$", (LOCKS / lock).read_text(), re.M
        )  # no marker: it is installed
        missing = [name for name in pinned if (re.sub(r"[-_.]+", "-", name).lower(), place) not in listed]
        assert len(pinned) > 100 and missing == [], (
            f"{place}: run `.venv/bin/python -m maintain.delivery.supply licences`"
        )
