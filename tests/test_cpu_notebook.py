"""The CPU notebook for real: papermill from cold to stopped, nbval against the committed contract lines."""

import os
import subprocess
import sys
from pathlib import Path

import canaries
import nbformat
import pytest

from helpers.paths import NOTEBOOKS, ROOT
from helpers.recipes import load_target
from helpers.records.record import RunRecord

CPU = NOTEBOOKS / "targets" / "cpu.ipynb"
SMALL = {"port": 0, "concurrency": [1, 2], "input_tokens": 32, "output_tokens": 16}


def prepared(notebook: Path, out: Path, **parameters) -> Path:
    """`papermill --prepare-only`: the parameters injected, the committed outputs kept."""
    import yaml

    values = out.with_suffix(".yaml")
    values.write_text(yaml.safe_dump(parameters))
    subprocess.run(
        [sys.executable, "-m", "papermill", "--prepare-only", "-f", str(values), str(notebook), str(out)],
        check=True,
        capture_output=True,
    )
    return out


def nbval(notebook: Path) -> subprocess.CompletedProcess:
    """Re-execute a notebook and compare its contract cells with what is committed."""
    argv = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-x", "-q", "-p", "no:cacheprovider"]
    argv += ["--rootdir", str(notebook.parent), "-c", os.devnull, str(notebook)]
    return subprocess.run(argv, capture_output=True, text=True, cwd=notebook.parent)


@pytest.mark.real
def test_the_cpu_notebook_runs_from_cold_to_stopped(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from helpers.runs.execute import run_target

    cache = tmp_path / "cache"  # leases of its own: a server that other tests share is not attached to
    cache.mkdir()
    (cache / "models").symlink_to(checkpoint.parent)
    monkeypatch.setenv("COOKBOOK_CACHE", str(cache))
    for name, value in canaries.KEYS.items():  # the server then wants VLLM_API_KEY from every client of the notebook
        monkeypatch.setenv(name, value)

    outcome = run_target("cpu", SMALL | {"run_dir": str(tmp_path / "run")}, progress=False)
    assert outcome.passed, outcome.error
    record = RunRecord.read(tmp_path / "run" / "record.json")
    assert {contract.group for contract in record.contracts} >= {"endpoints", "streaming", "reasoning"}
    assert {c.name: c.state for c in record.contracts if c.state != "passed"} == {"evals.quick": "skipped"}
    assert [point.concurrency for point in record.throughput] == [1, 2]
    assert record.startup_s["total"] > 0 and record.versions["vllm"].startswith(load_target("cpu").stack.vllm)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"notebook.ipynb", "record.json", "throughput.png", "server.log", "bench"} <= names
    assert (cache / "leases").is_dir() and not list((cache / "leases").glob("*.json")), "stopped"
    assert canaries.found_in(tmp_path / "run") == [], "a key is in what the run leaves"
    cells = nbformat.read(tmp_path / "run" / "notebook.ipynb", as_version=4).cells
    streamed = [cell.outputs for cell in cells if 'end="|", flush=True' in cell.source]
    assert streamed and all([output.name for output in outputs] == ["stdout"] for outputs in streamed), "one text each"
    assert all("|" in outputs[0].text for outputs in streamed)


@pytest.mark.real
def test_the_committed_contract_lines_hold(server, tmp_path: Path) -> None:
    done = nbval(prepared(CPU, tmp_path / "cpu.ipynb", run_dir=str(tmp_path / "run"), **SMALL))
    assert done.returncode == 0, done.stdout[-4000:]
    assert server.running(), "the notebook lets go of a server that others use"


@pytest.mark.real
def test_nbval_sees_a_changed_contract_line(server, tmp_path: Path) -> None:
    """nbval must be able to fail: a stripped notebook, or one compared with itself, passes in silence."""
    notebook = nbformat.read(CPU, as_version=4)
    checked = [cell for cell in notebook.cells if "nbval-check-output" in cell.metadata.get("tags", [])]
    output = next(output for cell in checked for output in cell.outputs if output.output_type == "stream")
    assert "✓" in output.text
    output.text = output.text.replace("✓", "✗")
    changed = tmp_path / "changed.ipynb"
    nbformat.write(notebook, changed)
    done = nbval(prepared(changed, tmp_path / "cpu.ipynb", run_dir=str(tmp_path / "run"), **SMALL))
    assert done.returncode == 1 and "✗" in done.stdout, done.stdout[-2000:]


@pytest.mark.real
def test_a_failing_cell_fails_the_run(interpreter: Path, tmp_path: Path) -> None:
    """papermill must be able to fail, quickly, with one line, and leave a record that says so."""
    folder = tmp_path / "not-a-model"
    folder.mkdir()
    argv = [
        sys.executable,
        "-m",
        "helpers.cli",
        "run",
        "cpu",
        "-p",
        "weights",
        str(folder),
        "-p",
        "run_dir",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 1
    assert "config.json is missing" in done.stderr and "Traceback" not in done.stderr
    record = RunRecord.read(tmp_path / "run" / "record.json")
    assert record.state == "failed" and "config.json" in record.why
    assert nbformat.read(tmp_path / "run" / "notebook.ipynb", as_version=4), "the executed notebook is kept"


@pytest.mark.real
def test_plain_papermill_refuses_an_unknown_parameter(interpreter: Path, tmp_path: Path) -> None:
    """papermill only warns; the notebook's first step does not."""
    argv = [sys.executable, "-m", "papermill", str(CPU), str(tmp_path / "out.ipynb"), "-p", "modle", "gpt-oss-nano"]
    argv += ["-p", "run_dir", str(tmp_path / "run"), "--no-progress-bar"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode != 0 and "modle: unknown parameter" in done.stderr
