"""Whole or not there; one writer at a time."""

import os
import re
import resource
import signal
from pathlib import Path

import pytest

from helpers import files
from helpers.errors import CookbookError
from helpers.paths import ROOT

# What may rename or lock for itself, and why `helpers.files` does not serve there.
BY_HAND = {
    "helpers/files.py": "it is the one way",
    "helpers/machine/bootstrap.py": "runs before filelock is installed",
    "helpers/bench/tune/tuner.py": "sets the files of an earlier study aside",
    "helpers/instack/nano/folder.py": "a whole folder takes another's place",
    "maintain/batch/execute.py": "sets a run's folder aside",
    "helpers/runs/folder.py": "replaces a link",
    "helpers/tools/setup.py": "replaces a folder",
    "maintain/releases.py": "renames an unpacked folder",
    "nano/training/train.py": "renames a checkpoint's folder",
}


def by_hand(sources: dict[str, str]) -> set[str]:
    """The sources that rename or lock without `helpers.files`."""
    return {name for name, text in sources.items() if re.search(r"os\.re(?:place|name)\(|flock\(", text)}


def test_nobody_else_writes_or_locks_by_hand() -> None:
    trees = ("helpers", "maintain", "nano", "benchmarks", "hunt")
    paths = [path for tree in trees for path in (ROOT / tree).rglob("*.py")]
    sources = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    assert by_hand(sources) == set(BY_HAND)
    assert by_hand({"helpers/keys.py": "import os\nos.replace(part, path)\n"}) == {"helpers/keys.py"}, "it can fail"


def test_a_write_replaces_the_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = files.write_whole(tmp_path / "new" / "a.json", "old")
    files.write_whole(path, b"new")
    assert path.read_text() == "new" and os.listdir(path.parent) == ["a.json"]
    assert files.write_whole(tmp_path / "key", "k", mode=0o600).stat().st_mode & 0o777 == 0o600


def test_a_failed_write_keeps_the_old_content(tmp_path: Path) -> None:
    path = files.write_whole(tmp_path / "a.json", "old")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))  # as a full disk
    try:
        with pytest.raises(OSError):
            files.write_whole(path, "much longer than four bytes")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


def test_one_at_a_time(tmp_path: Path) -> None:
    busy = CookbookError("another writes here")
    held, refused = files.alone(tmp_path / "lock"), pytest.raises(CookbookError, match="another writes here")
    with held, refused, files.alone(tmp_path / "lock", busy=busy):
        pass
    with files.alone(tmp_path / "lock", busy=busy):
        pass


def test_what_is_no_json_object_reads_as_none(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert files.read_json(path) is None
    for text, found in (('{"a": 1}', {"a": 1}), ('{"a":', None), ("[1]", None)):
        path.write_text(text)
        assert files.read_json(path) == found
