"""What a newcomer waits for: `make run` fresh and warm, the three tiers of tests, what the notebook adds.

python -m benchmarks.flow [fresh] [warm] [test] [quick] [rest] [overhead]      (all, in this order, unless named)

The record is `benchmarks/records/flow.json`, a `benchmarks.result.Result`. Its `values` may hold, each optional and
under these names (`maintain.pages.readme.FLOW` puts them into the README, "not measured" where one is absent):

    make_run_fresh_s    s  wall time of `make run` in a fresh clone of HEAD; pip's and uv's caches are as they are
    make_run_warm_s     s  the same command again in that clone
    make_test_fresh_s   s  wall time of `make test` in another fresh clone, its installs included
    make_test_s         s  the same without the installs: pytest's own count
    make_quick_s        s  `make quick` in that clone
    make_test_all_s     s  `make test-all`: pytest's counts of `make test` and of what it has beyond it, each test once
    overhead_percent    %  what the notebook through papermill takes longer than a bare `vllm serve`, the notebook's
                           own requests and the same sweep; both sides in one run, alternately

A run that is asked for some of them keeps the others of an older record of the same machine. Then
`cookbook render` writes the README. It takes up to an hour, writes the seconds of each test file into `suite.json`, and
serves on port 8000: nothing else should run.
"""

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

from benchmarks.result import RECORDS, Result, Value, result_of
from benchmarks.sweep_cost import recipe_command
from helpers.errors import CookbookError
from helpers.paths import CACHE, NOTEBOOKS, ROOT, shown
from helpers.runs.folder import kept_on_failure

CPU = NOTEBOOKS / "targets" / "cpu.ipynb"
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
PAIRS = 2  # of bare and notebook, alternately: a start varies by seconds
SWEEP = {"concurrency": [1, 2, 4, 8], "input_tokens": 128, "output_tokens": 64}  # the CPU recipe's defaults


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


def requests_of(notebook: Path) -> str:
    """The requests that a target notebook sends between launch and sweep, as code without checks and displays."""
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    first = next(number for number, source in enumerate(sources) if "run.launch()" in source) + 1
    last = next(number for number, source in enumerate(sources) if "run.sweep()" in source)
    kept: list[ast.stmt] = []
    for statement in ast.parse("\n".join(sources[first:last])).body:
        if isinstance(statement, ast.Expr):  # a reply shown, a check: only what they ask the server counts
            nodes = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
            kept += [ast.Expr(node) for node in nodes if _root(node) in ("client", "converse")]
        elif not isinstance(statement, ast.If):  # a check that is made, or skipped with its reason
            kept.append(statement)
    return ast.unparse(ast.fix_missing_locations(ast.Module(kept, [])))


def _root(node: ast.AST) -> str:
    """The name that a chain of calls and attributes begins with."""
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


PARTS = {"start": "run.launch()", "sweep": "run.sweep()"}  # and the cells that do them; the rest is named so


def bare(interpreter: Path, checkpoint: Path, folder: Path) -> dict[str, float]:
    """Seconds by part for the tool servers and `vllm serve` by hand, the notebook's requests and the same sweep, no
    notebook and no check."""
    from helpers.bench.sweep import plan, sampling, sweep
    from helpers.bench.worker import LoadWorker
    from helpers.processes import Identity, healthy
    from helpers.runs.steps import start_tools
    from helpers.server import end_group, free_port

    source = requests_of(CPU)
    began, port = time.perf_counter(), free_port()
    tools = start_tools("gpt-oss-nano", needed=False, run_dir=folder)
    tooled = time.perf_counter()
    command = recipe_command(checkpoint, port).with_tools(tools.argument, tools.env)
    argv, env = command.run_by(interpreter), command.env
    with (folder / "bare.log").open("wb") as log, LoadWorker(interpreter, folder / "load.log") as worker:
        process = subprocess.Popen(argv, env=os.environ | env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        server = Identity.of(process.pid)
        try:
            while not healthy(port):
                if process.poll() is not None:
                    raise CookbookError(
                        "the bare server died", do=f"see `cookbook doctor {shown(folder / 'bare.log')}`"
                    )
                time.sleep(0.2)
            ready = time.perf_counter()
            address = f"http://127.0.0.1:{port}"
            names = {"__name__": "__main__", "server": SimpleNamespace(model="gpt-oss-nano", base_url=address)}
            exec(compile(source, "<requests of the notebook>", "exec"), names)
            asked = time.perf_counter()
            loads = plan(SWEEP["concurrency"], SWEEP["input_tokens"], SWEEP["output_tokens"])
            sweep(address, "gpt-oss-nano", checkpoint, interpreter, loads, folder, worker=worker, **sampling("nano"))
            swept = time.perf_counter()
        finally:
            end_group(server)
            process.wait()
            tools.stop()
    parts = {"start": ready - tooled, "sweep": swept - asked}
    return parts | {"rest": time.perf_counter() - began - sum(parts.values())}


def through_papermill(folder: Path) -> dict[str, float]:
    """Seconds by part for the whole CPU notebook, from cold to stopped."""
    from helpers.runs.execute import run_target

    began = time.perf_counter()
    outcome = run_target("cpu", SWEEP | {"port": 0, "run_dir": str(folder)}, progress=False)
    seconds = time.perf_counter() - began
    if not outcome.passed:
        raise CookbookError("the CPU notebook failed", why=outcome.error, do=f"see `cookbook doctor --run {folder}`")
    cells = json.loads((folder / "notebook.ipynb").read_text())["cells"]
    parts = {
        part: next(c["metadata"]["papermill"]["duration"] for c in cells if call in "".join(c["source"]))
        for part, call in PARTS.items()
    }
    return parts | {"rest": seconds - sum(parts.values())}


def overhead() -> Value:
    """Both ways alternately, the sums compared."""
    from helpers.machine.stack import ensure
    from helpers.server.weights import build_nano

    interpreter = ensure("cpu")
    checkpoint = build_nano(interpreter, CACHE / "models")
    by_hand, notebook = [], []
    for _ in range(PAIRS):
        with kept_on_failure("bench-by-hand") as one, kept_on_failure("bench-notebook") as other:
            by_hand.append(bare(interpreter, checkpoint, one))
            notebook.append(through_papermill(other))
    total = lambda runs: sum(sum(parts.values()) for parts in runs)  # noqa: E731
    detail = "; ".join(
        f"{part} " + ", ".join(f"{n[part]:.1f} to {b[part]:.1f} s" for n, b in zip(notebook, by_hand, strict=True))
        for part in (*PARTS, "rest")
    )
    percent = 100 * (total(notebook) / total(by_hand) - 1)
    return Value(name="overhead_percent", value=percent, unit="%", bar=BARS["overhead_percent"], detail=detail)


def seconds(name: str, value: float, detail: str = "") -> Value:
    return Value(name=name, value=value, unit="s", bar=BARS[name], detail=detail)


def counted(printed: str) -> tuple[float, str]:
    """pytest's own seconds, and its lines of counts: of the tiers, of what passed; of each of its runs, added up."""
    lines = printed.splitlines()
    ended = [line.strip("= ").split(" in ") for line in lines if re.search(r" passed.* in [\d.]+s", line)]
    tiers = [line for line in lines if line.startswith("tiers: ")]
    spent = sum(float(took.split("s")[0]) for _, took in ended)
    return spent, " + ".join(f"{counts}; {tier}" for (counts, _), tier in zip(ended, tiers, strict=True))


def by_file(report: Path) -> list[Value]:
    """The seconds of each test file in a JUnit report, fixtures included, the longest first; two seconds at least."""
    spent: dict[str, list[float]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        spent.setdefault(case.get("classname").replace(".", "/") + ".py", []).append(float(case.get("time")))
    values = [Value(name=name, value=sum(all_), unit="s", detail=f"{len(all_)} tests") for name, all_ in spent.items()]
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
            files += by_file(scratch / "test.xml")
        if "quick" in steps:
            values.append(seconds("make_quick_s", timed_make(folder, "quick")[0]))
        if "rest" in steps:
            wall, printed = timed_make(folder, "test-rest", f"ARGS=--junitxml={scratch}/rest.xml")
            rest, counts = counted(printed)
            values.append(seconds("make_test_all_s", before(values) + rest, f"beyond `make test`: {counts}"))
            files += [value for report in sorted(scratch.glob("rest*.xml")) for value in by_file(report)]
    return values + ([overhead()] if "overhead" in steps else []), files


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
        merged(suite, RECORDS / "suite.json").write()
    for value in values:
        print(f"{value.name:20} {value.value:8.1f} {value.unit}  {value.detail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
