"""Import time of a notebook's first cell and the cost of executing a cell through papermill."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.result import Result, Value, result_of
from helpers.paths import NOTEBOOKS, ROOT

IMPORT_BAR = 1.5  # seconds
CELLS = 100
REPEATS = 3
HEAVY = ("torch", "vllm", "transformers", "pandas", "matplotlib")


def first_import(notebook: Path) -> str:
    """The import lines of a notebook's first cell that has any."""
    for cell in json.loads(notebook.read_text())["cells"]:
        lines = [line for line in "".join(cell["source"]).splitlines() if line.startswith(("import ", "from "))]
        if cell["cell_type"] == "code" and lines:
            return "\n".join(lines)
    raise ValueError(f"{notebook.name} imports nothing")


def seconds_of(code: str) -> float:
    """Wall time of a fresh interpreter that runs `code`: the least of three."""

    def once() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
        return time.perf_counter() - began

    return min(once() for _ in range(REPEATS))


def loaded_by(code: str) -> list[str]:
    """Which of the heavy libraries an import pulls in."""
    probe = f"{code}\nimport sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1].replace("'", '"'))


def papermill_seconds(cells: int, folder: Path) -> float:
    """Wall time of papermill on a notebook of trivial cells."""
    import nbformat
    import papermill
    from traitlets.config import Config

    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("1 + 1") for _ in range(cells)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    path = folder / f"{cells}.ipynb"
    nbformat.write(notebook, path)
    began = time.perf_counter()
    papermill.execute_notebook(
        str(path),
        str(folder / f"{cells}-out.ipynb"),
        progress_bar=False,
        config=Config({"ConnectionFileMixin": {"transport": "ipc"}}),  # as `cookbook run` does
    )
    return time.perf_counter() - began


def measure() -> Result:
    """Both costs."""
    notebook = NOTEBOOKS / "targets" / "cpu.ipynb"
    code = first_import(notebook)
    bare, imported = seconds_of("pass"), seconds_of(code)
    heavy = loaded_by(code)
    with tempfile.TemporaryDirectory() as folder:
        papermill_seconds(1, Path(folder))  # imports papermill, warms the disk
        few, many = papermill_seconds(1, Path(folder)), papermill_seconds(CELLS + 1, Path(folder))
    values = [
        Value(name="first cell's imports", value=imported - bare, unit="s", bar=IMPORT_BAR, detail=notebook.name),
        Value(name="first cell's imports / a bare interpreter", value=imported / bare, unit="x"),
        Value(name="heavy libraries among them", value=len(heavy), unit="", bar=0, detail=", ".join(heavy) or "none"),
        Value(name="papermill per cell", value=1e3 * (many - few) / CELLS, unit="ms", detail=f"{CELLS} trivial cells"),
        Value(name="papermill start, one cell", value=few, unit="s"),
    ]
    import papermill

    versions = {"papermill": papermill.__version__, "python": sys.version.split()[0]}
    return result_of("notebook_cost", "What does a notebook cost?", values, versions)
