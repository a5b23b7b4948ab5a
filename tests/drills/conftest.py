"""What the drills share, which of them run, and the table that `make drills` writes."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import drill_page
import pytest
from damage import Place, SmallDisk, cleaned, mounting_refused

from helpers.files import write_whole
from helpers.paths import ROOT

ALL = "COOKBOOK_DRILLS"  # set by `make drills`: docs/drills.md is written
PAGE = ROOT / "docs" / "drills.md"
_rows: dict[str, drill_page.Row] = {}  # drill -> what ran now
_collected: list[pytest.Item] = []
# where a script started the suite with `&` it ignores Ctrl-C, and so would all that it starts
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "drill(damage): does damage for real; `make drills` writes the table of all")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    if item.get_closest_marker("drill") and (report.when == "call" or report.outcome != "passed"):
        message = next((value for name, value in item.user_properties if name == "message"), "")
        if report.outcome == "skipped":
            message = f"not run here: {report.longrepr[2].removeprefix('Skipped: ')}"
        row = blank(item) | {"message": message, "result": report.outcome}
        if _rows.get(row["drill"], row)["result"] != "failed":
            _rows[row["drill"]] = row
    return report


def blank(item: pytest.Item) -> drill_page.Row:
    """The row of a drill that has not run."""
    part = re.search(r"\[(.*)\]$", item.name)
    name = item.originalname.removeprefix("test_").replace("_", " ") + (f" ({part[1]})" if part else "")
    checked = " ".join((item.function.__doc__ or "").split())
    damage = item.get_closest_marker("drill").args[0]
    empty = {"message": "", "result": drill_page.NEVER, "taken": ""}
    return {"drill": name, "damage": damage, "checked": checked} | empty


def order(item: pytest.Item) -> list[int]:
    """Where it stands among the parameters of its function."""
    return list(item.callspec.indices.values()) if hasattr(item, "callspec") else []


def taken() -> str:
    """The day, and the vLLM of the CPU stack."""
    from helpers.machine.interpreter import serving_stack

    return f"{time.strftime('%Y-%m-%d')}, vLLM {serving_stack('cpu')[1]['vllm'].partition('+')[0]}"


def pytest_deselected(items: list[pytest.Item]) -> None:
    _collected.extend(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    _collected.extend(session.items)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Bring the page up to what ran, whole or not at all, where all drills were collected, be they selected or not."""
    drills = [item for item in _collected if item.get_closest_marker("drill")]
    if not os.environ.get(ALL):
        return
    if missing := set(Path(__file__).parent.glob("test_drill_*.py")) - {item.path for item in drills}:
        print(f"\n{PAGE.name} is left as it was: {', '.join(sorted(path.name for path in missing))} not collected")
        return
    drills.sort(key=lambda item: (item.path, item.function.__code__.co_firstlineno, order(item)))
    roster = {row["drill"]: row for row in map(blank, drills)}
    ran = {name: row | {"taken": taken()} for name, row in _rows.items()}
    rows = drill_page.merged(PAGE.read_text(encoding="utf-8"), ran, roster)
    write_whole(PAGE, drill_page.text(rows))


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
