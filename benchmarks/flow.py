"""What a newcomer waits for: `make run` fresh and warm, the three tiers of tests, what the notebook adds.

python -m benchmarks.flow [fresh] [warm] [test] [quick] [rest] [overhead]      (all, in this order, unless named)

The record is `benchmarks/records/flow.json`, a `benchmarks.result.Result`. Its `values` may hold, each optional and
under these names (`maintain.pages.readme.FLOW` puts them into docs/install.md, "not measured" where one is absent):

    make_run_fresh_s    s  wall time of `make run` in a fresh clone of HEAD; pip's and uv's caches are as they are
    make_run_warm_s     s  the same command again in that clone
    make_test_fresh_s   s  wall time of `make test` in another fresh clone, its installs included
    make_test_s         s  the same without the installs: pytest's own count
    make_quick_s        s  `make quick` in that clone
    make_test_all_s     s  `make test-all`: pytest's counts of `make test` and of what it has beyond it, each test once
    overhead_percent    %  what the notebook through papermill takes longer than a bare `vllm serve`, the notebook's
                           own requests and the same sweep, each side a process of its own, alternately

A run that is asked for some of them keeps the others of an older record of the same machine. Then
`cookbook render` writes docs/install.md. It takes up to an hour, writes the seconds of each test file into `suite.json`, and
serves on port 8000: nothing else should run.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.overhead import overhead
from benchmarks.result import RECORDS, Result, Value, result_of
from helpers.errors import CookbookError
from helpers.paths import ROOT, shown
from helpers.runs.folder import kept_on_failure
from tests.tiers import row

STEPS = ("fresh", "warm", "test", "quick", "rest", "overhead")
BARS = {
    "make_run_fresh_s": 300,
    "make_run_warm_s": 150,
    "make_quick_s": 60,
    "make_test_s": 600,
    "make_test_fresh_s": 900,
    "make_test_all_s": 1800,
    "overhead_percent": 5,
}


def clone(folder: Path) -> Path:
    """A fresh clone of HEAD."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


def timed_make(folder: Path, *words: str) -> tuple[float, str]:
    """Wall time of `make` in a clone, which shares no stack, cache or run with this checkout, and what it printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COOKBOOK_")}
    for name in ("VIRTUAL_ENV", "PYTHONPATH"):
        env.pop(name, None)
    began = time.perf_counter()
    done = subprocess.run(["make", *words], cwd=folder, env=env, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        log = folder / "runs" / f"make-{words[0]}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(done.stdout + done.stderr)
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise CookbookError(f"`make {' '.join(words)}` failed in the clone", why=last, do=f"see {shown(log)}")
    return seconds, done.stdout


def seconds(name: str, value: float, detail: str = "") -> Value:
    return Value(name=name, value=value, unit="s", bar=BARS[name], detail=detail)


def counted(printed: str) -> tuple[float, str]:
    """pytest's own seconds, and its lines of counts: of the tiers, of what passed; of each of its runs, added up."""
    lines = printed.splitlines()
    ended = [line.strip("= ").split(" in ") for line in lines if re.search(r" passed.* in [\d.]+s", line)]
    tiers = [line for line in lines if line.startswith("tiers: ")]
    spent = sum(float(took.split("s")[0]) for _, took in ended)
    return spent, " + ".join(f"{counts}; {tier}" for (counts, _), tier in zip(ended, tiers, strict=True))


def by_file(reports: Iterable[Path], tier: str) -> list[Value]:
    """The seconds of each test file in a tier's JUnit reports, fixtures included, the longest first; two seconds at least."""
    spent: dict[str, list[float]] = {}
    for case in (case for report in reports for case in ElementTree.parse(report).iter("testcase")):
        spent.setdefault(case.get("classname").replace(".", "/") + ".py", []).append(float(case.get("time")))
    values = [
        Value(name=row(name, tier), value=sum(all_), unit="s", detail=f"{len(all_)} tests")
        for name, all_ in spent.items()
    ]
    return sorted((value for value in values if value.value >= 2), key=lambda value: -value.value)


def before(values: list[Value]) -> float:
    """The seconds of `make test`, of this call or on record. `CookbookError` where neither has them."""
    path = RECORDS / "flow.json"
    known = Result.model_validate_json(path.read_text()).values if path.exists() else []
    found = [value.value for value in [*known, *values] if value.name == "make_test_s"]
    if not found:
        raise CookbookError("`make test` was never timed", do="name the step test too")
    return found[-1]


def measure(steps: list[str]) -> tuple[list[Value], list[Value]]:
    """The values of the steps, and the seconds by test file. The runs share one clone, the tests another."""
    values, files = [], []
    with kept_on_failure("bench-clone") as scratch:
        if {"fresh", "warm"} & set(steps):
            folder = clone(scratch / "run")
            first = timed_make(folder, "run")[0]
            values += [seconds("make_run_fresh_s", first)] if "fresh" in steps else []
            values += [seconds("make_run_warm_s", timed_make(folder, "run")[0])] if "warm" in steps else []
        if {"test", "quick", "rest"} & set(steps):
            folder = clone(scratch / "test")
        if "test" in steps:
            wall, printed = timed_make(folder, "test", f"ARGS=--junitxml={scratch}/test.xml")
            own, counts = counted(printed)
            values += [seconds("make_test_fresh_s", wall), seconds("make_test_s", own, counts)]
            files += by_file([scratch / "test.xml"], "real")
        if "quick" in steps:
            values.append(seconds("make_quick_s", timed_make(folder, "quick")[0]))
        if "rest" in steps:
            wall, printed = timed_make(folder, "test-rest", f"ARGS=--junitxml={scratch}/rest.xml")
            rest, counts = counted(printed)
            values.append(seconds("make_test_all_s", before(values) + rest, f"beyond `make test`: {counts}"))
            files += by_file(scratch.glob("rest*.xml"), "full")
    if "overhead" in steps:
        value, unit, detail = overhead()
        values.append(
            Value(name="overhead_percent", value=value, unit=unit, bar=BARS["overhead_percent"], detail=detail)
        )
    return values, files


def merged(new: Result, path: Path) -> Result:
    """The new values, and those of the record before that were not measured again on the same machine."""
    if not path.exists():
        return new
    old = Result.model_validate_json(path.read_text())
    if old.machine != new.machine:
        return new
    names = {value.name for value in new.values}
    return new.model_copy(update={"values": [v for v in old.values if v.name not in names] + new.values})


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"which of {', '.join(STEPS)}; all unless given")
    options = parser.parse_args()
    if unknown := set(options.steps) - set(STEPS):
        parser.error(f"there is no step {', '.join(sorted(unknown))}; choose from {', '.join(STEPS)}")
    try:
        values, files = measure(options.steps or list(STEPS))
    except CookbookError as error:
        print(f"flow: {error.line()}", file=sys.stderr)
        return error.exit_code
    from helpers.machine import facts
    from helpers.machine.stack import interpreter

    versions = {"vllm": facts.versions(interpreter("cpu"))["vllm"]}
    result = result_of("flow", "What does a newcomer wait for?", values, versions)
    merged(result, RECORDS / "flow.json").write()
    if files:
        suite = result_of("suite", "What does each test file take?", files, versions)
        whole = {"test", "rest"} <= set(options.steps or STEPS)  # nothing of a file that is gone stays
        (suite if whole else merged(suite, RECORDS / "suite.json")).write()
    for value in values:
        print(f"{value.name:20} {value.value:8.1f} {value.unit}  {value.detail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
