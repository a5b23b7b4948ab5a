"""What the notebook adds to a bare server: both ways from cold to stopped, each in a process of its own, alternately.

python -m benchmarks.flow overhead    measures it for the record

A side's seconds are those of its process, imports included: a reader starts `cookbook run cpu` in a terminal, or a script.
"""

import ast
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from benchmarks.sweep_cost import recipe_command, served_by_hand
from helpers.errors import CookbookError
from helpers.paths import CACHE, NOTEBOOKS, ROOT, shown
from helpers.runs.folder import kept_on_failure

CPU = NOTEBOOKS / "targets" / "cpu.ipynb"
PAIRS = 3  # of bare and notebook: a start varies by seconds
SWEEP = {"concurrency": [1, 2, 4, 8], "input_tokens": 128, "output_tokens": 64}  # the CPU recipe's defaults
PARTS = {"start": "run.launch()", "sweep": "run.sweep()"}  # and the cells that do them; the rest is named so
TAKEN = "parts.json"  # the seconds of a bare side's parts, in its folder


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


def bare(folder: Path) -> None:
    """The tool servers and `vllm serve` by hand, the notebook's requests and the same sweep, no notebook and no check."""
    from helpers.bench.sweep import plan, sampling, sweep
    from helpers.bench.worker import LoadWorker
    from helpers.machine.stack import ensure
    from helpers.runs.steps import start_tools
    from helpers.server import free_port
    from helpers.server.weights import build_nano

    interpreter, source = ensure("cpu"), requests_of(CPU)
    checkpoint = build_nano(interpreter, CACHE / "models")
    tools = start_tools("gpt-oss-nano", needed=False, run_dir=folder)
    port = free_port()  # after the tool servers have theirs
    began = time.perf_counter()
    command = recipe_command(checkpoint, port).with_tools(tools.argument, tools.env)
    try:
        with (
            LoadWorker(interpreter, folder / "load.log") as worker,
            served_by_hand(command, interpreter, folder / "bare.log"),
        ):
            ready = time.perf_counter()
            address = f"http://127.0.0.1:{port}"
            names = {"__name__": "__main__", "server": SimpleNamespace(model="gpt-oss-nano", base_url=address)}
            exec(compile(source, "<requests of the notebook>", "exec"), names)
            asked = time.perf_counter()
            loads = plan(SWEEP["concurrency"], SWEEP["input_tokens"], SWEEP["output_tokens"])
            sweep(address, "gpt-oss-nano", checkpoint, interpreter, loads, folder, worker=worker, **sampling("nano"))
            swept = time.perf_counter()
    finally:
        tools.stop()
    (folder / TAKEN).write_text(json.dumps({"start": ready - began, "sweep": swept - asked}))


def by_hand(folder: Path) -> dict[str, float]:
    """Seconds by part of `bare`."""
    spent = timed([sys.executable, "-m", "benchmarks.overhead", str(folder)], folder)
    parts = json.loads((folder / TAKEN).read_text())
    return parts | {"rest": spent - sum(parts.values())}


def through_papermill(folder: Path) -> dict[str, float]:
    """Seconds by part for the whole CPU notebook, from cold to stopped, by the command line."""
    given = [word for name, value in (SWEEP | {"port": 0}).items() for word in ("-p", name, json.dumps(value))]
    argv = [sys.executable, "-m", "helpers.cli", "run", "cpu", *given, "-p", "run_dir", str(folder)]
    spent = timed(argv, folder)
    cells = json.loads((folder / "notebook.ipynb").read_text())["cells"]
    parts = {
        part: next(c["metadata"]["papermill"]["duration"] for c in cells if call in "".join(c["source"]))
        for part, call in PARTS.items()
    }
    return parts | {"rest": spent - sum(parts.values())}


def timed(argv: list[str], folder: Path) -> float:
    """The seconds of a process; a `CookbookError` with its last line where it fails."""
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        (folder / "output.txt").write_text(done.stdout + done.stderr)
        last = (done.stderr.strip() or done.stdout.strip() or "it says nothing").splitlines()[-1]
        raise CookbookError(f"`{' '.join(argv[1:4])}` failed", why=last, do=f"see {shown(folder / 'output.txt')}")
    return seconds


def overhead() -> tuple[float, str, str]:
    """Both ways alternately, the sums compared: percent, the unit, seconds by part."""
    hand, notebook = [], []
    for _ in range(PAIRS):
        with kept_on_failure("bench-by-hand") as one, kept_on_failure("bench-notebook") as other:
            hand.append(by_hand(one))
            notebook.append(through_papermill(other))
    total = lambda runs: sum(sum(parts.values()) for parts in runs)  # noqa: E731
    detail = "; ".join(
        f"{part} " + ", ".join(f"{n[part]:.1f} to {b[part]:.1f} s" for n, b in zip(notebook, hand, strict=True))
        for part in (*PARTS, "rest")
    )
    return 100 * (total(notebook) / total(hand) - 1), "%", detail


if __name__ == "__main__":
    bare(Path(sys.argv[1]))
