"""What the drills share, which of them run, and the table that `make drills` writes."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from damage import Place, SmallDisk, cleaned, mounting_refused

from helpers.paths import ROOT

ALL = "COOKBOOK_DRILLS"  # set by `make drills`: docs/drills.md is written
PAGE = ROOT / "docs" / "drills.md"
HEAD = """# Failure drills

Each drill does the damage for real, then looks at what a user is left with: one clear line, the right exit code, no
orphan process, no held port, no half-written file taken for a whole one, and a next run that works. Written by
`make drills`; `make test` runs the quick ones, `make test-all` every one.

"""
_rows: dict[str, dict[str, str]] = {}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "drill(damage): does damage for real; `make drills` writes the table of all")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    marker = item.get_closest_marker("drill")
    if marker and (report.when == "call" or report.outcome != "passed"):
        checked = " ".join((item.function.__doc__ or "").split())
        message = next((value for name, value in item.user_properties if name == "message"), "")
        if report.outcome == "skipped":
            message = f"not run here: {report.longrepr[2].removeprefix('Skipped: ')}"
        part = re.search(r"\[(.*)\]$", item.name)
        _rows[item.nodeid] = {
            "drill": item.originalname.removeprefix("test_").replace("_", " ") + (f" ({part[1]})" if part else ""),
            "damage": marker.args[0],
            "checked": checked,
            "message": message,
            "result": report.outcome,
        }
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page, whole or not at all; a run of some drills alone leaves it as it is."""
    partial = session.config.getoption("keyword") or session.config.getoption("markexpr")
    whole = {item.nodeid for item in session.items if item.get_closest_marker("drill")} == set(_rows)
    if not os.environ.get(ALL) or partial or not whole or len(_rows) < 40:
        return
    names = ("drill", "damage", "checked", "message", "result")
    cell = lambda text: text.replace("|", "\\|").replace("\n", " ")  # noqa: E731
    lines = ["| drill | damage | what was checked | message seen | result |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(cell(row[name]) for name in names) + " |" for row in _rows.values()]
    counts = [row["result"] for row in _rows.values()]
    told = ", ".join(f"{counts.count(result)} {result}" for result in ("passed", "skipped", "failed"))
    temporary = PAGE.with_name(f".{PAGE.name}.new")
    temporary.write_text(f"{HEAD}{len(_rows)} drills: {told}.\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    os.replace(temporary, PAGE)


@pytest.fixture
def said(request: pytest.FixtureRequest) -> Callable[[object], str]:
    """`said(message)`: check that a message is clear and on one line, and keep it for the table."""

    def keep(message: object) -> str:
        text = str(message).strip()
        assert text and "\n" not in text and "Traceback" not in text, text
        request.node.user_properties.append(("message", cleaned(text)))
        return text

    return keep


@pytest.fixture
def status(cli_process: Callable, said: Callable[[object], str]) -> Callable[[str], None]:
    """`status(words)`: what `cookbook status` tells a user now holds these words; kept for the table."""

    def ask(words: str) -> None:
        done = cli_process("status")
        assert done.returncode == 0 and words in said(done.stdout), (done.stdout, done.stderr)

    return ask


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A drill's own leases, port and token; whatever of it still runs at the end is an orphan and fails the drill."""
    here = Place(tmp_path)
    here.isolate(monkeypatch)
    try:
        yield here
        here.assert_nothing_left()
    finally:
        here.clear()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], SmallDisk]]:
    """`small_disk(kib)`: a file system of its own of that size."""
    if reason := mounting_refused():
        pytest.skip(reason)
    disks: list[SmallDisk] = []

    def make(kib: int) -> SmallDisk:
        disks.append(SmallDisk(tmp_path / f"disk-{len(disks)}", kib))
        return disks[-1]

    yield make
    for disk in disks:
        disk.close()
