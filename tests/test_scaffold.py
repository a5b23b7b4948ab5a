"""A contributor's path: scaffold, fill in, check, render, and take it away again without a trace."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import paths

pytestmark = pytest.mark.real


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the repository's sources under git."""
    keep = shutil.ignore_patterns("__pycache__", ".*", "kernel-*")  # the last: sockets of runs beside
    for name in ("helpers", "maintain", "nano", "recipes", "notebooks", "tests", "docs", "benchmarks", "hunt"):
        shutil.copytree(paths.ROOT / name, tmp_path / name, ignore=keep)
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(paths.ROOT / name, tmp_path / name)
    pages = Path("notebooks/topics/pages")  # one folder, so that its tool servers are the ones that the tests share
    shutil.rmtree(tmp_path / pages)
    (tmp_path / pages).symlink_to(paths.ROOT / pages)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start")
    return tmp_path


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "COOKBOOK_ROOT": str(checkout), "COOKBOOK_STACKS": str(paths.STACKS)}
    env |= {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "helpers.cli", *words]
    return subprocess.run(argv, capture_output=True, text=True, env=env, cwd=checkout, timeout=600)


def filled_in(recipe: Path) -> None:
    """What a contributor writes in place of every TODO."""
    text = recipe.read_text().replace("TODO the vendor's name of h20", "NVIDIA H20")
    text = text.replace("TODO what its flags were checked against", "flags parsed by vLLM 0.32.0")
    text = text.replace("TODO in place of h200's ", "no ").replace("TODO in place of h200, ", "")
    recipe.write_text(text.replace(r"name: \bH200", r"name: \bH20\b").replace("140.4", "95.6"))


@pytest.mark.full
def test_the_path_of_a_contributor(checkout: Path, interpreter: Path):
    done = run(checkout, "new-target", "h20", "--like", "h200")
    assert done.returncode == 0, done.stderr
    made = ["notebooks/targets/h20.ipynb", "recipes/targets/h20.yaml", "tests/targets/test_h20.py"]
    assert sorted(line.split(": ")[1] for line in done.stdout.splitlines() if line.startswith("written")) == made
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", made[2]]
    env = {**os.environ, "COOKBOOK_ROOT": str(checkout), "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    red = subprocess.run(test, cwd=checkout, env=env, capture_output=True, text=True)
    assert red.returncode == 1 and "replace every TODO" in red.stdout  # a scaffold is not a recipe yet
    filled_in(checkout / made[1])
    green = subprocess.run(test, cwd=checkout, env=env, capture_output=True, text=True)
    assert green.returncode == 0, green.stdout
    check = run(checkout, "check", "--target", "h20")
    assert check.returncode == 0 and "parsed" in check.stdout, check.stdout + check.stderr
    render = run(checkout, "render", "h20")
    assert render.returncode == 0, render.stderr
    assert "NVIDIA H20" in (checkout / made[0]).read_text() and "h20.ipynb" in (checkout / "README.md").read_text()
    shown = run(checkout, "command", "h20", "--format", "compose")
    assert shown.returncode == 0 and "gpt-oss" in shown.stdout
    assert "h20" in run(checkout, "targets").stdout
    removed = run(checkout, "new-target", "h20", "--remove")
    assert removed.returncode == 0, removed.stderr
    files, pages = (
        sorted(line.split(": ")[1] for line in removed.stdout.splitlines() if line.startswith(kind))
        for kind in ("removed", "rows")
    )
    assert files == made
    # `render` lists every target there
    assert pages == ["README.md", "notebooks/start_here.ipynb", "notebooks/start_here.zh.ipynb"]
    assert git(checkout, "status", "--porcelain") == ""


@pytest.mark.full
def test_a_scaffolded_target_rehearses(
    server, checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    """Step 5 of the path: every cell of the new notebook, on the server that the tests share."""
    from helpers.records.record import RunRecord

    assert run(checkout, "new-target", "h20", "--like", "h200").returncode == 0
    filled_in(checkout / "recipes/targets/h20.yaml")
    assert run(checkout, "render", "h20").returncode == 0
    # The same leases and checkpoint by the same relative path: so it attaches instead of starting a second server.
    (checkout / ".cache").symlink_to(paths.ROOT / ".cache")
    monkeypatch.setenv("COOKBOOK_CACHE", str(checkout / paths.CACHE.relative_to(paths.ROOT)))
    folder = tmp_path_factory.mktemp("rehearsal") / "run"
    done = run(checkout, "run", "h20", "-p", "rehearse", "true", "-p", "port", "0", "-p", "run_dir", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    record = RunRecord.read(folder / "record.json")
    assert record.target == "h20" and record.state == "passed" and record.parameters["rehearse"]
    assert {"command.parsed", "responses", "server.stopped"} <= {contract.name for contract in record.contracts}
    assert record.argv[record.argv.index("--port") + 1] == str(server.lease.port), "it started a server of its own"
    assert server.running()
    (checkout / ".cache").unlink()
    assert run(checkout, "new-target", "h20", "--remove").returncode == 0
    assert git(checkout, "status", "--porcelain") == ""


@pytest.mark.full
def test_removal_needs_no_git_for_the_readme(checkout: Path):
    """The rows that `render` wrote go with the target, whatever else the README says."""
    assert run(checkout, "new-target", "h20", "--like", "h200").returncode == 0
    assert run(checkout, "render", "h20").returncode == 0
    assert "targets/h20.ipynb" in (checkout / "README.md").read_text()
    done = run(checkout, "new-target", "h20", "--remove")
    assert done.returncode == 0 and git(checkout, "status", "--porcelain") == "", done.stdout


def test_bad_names_write_nothing(checkout: Path):
    for words, said in (
        (("H200",), "is no name for a target"),
        (("h100", "--like", "h200"), "the target h100 exists"),
        (("h20", "--like", "h400"), "unknown target 'h400'"),
        (("h20", "--remove"), "there is no target h20"),
        (("cpu", "--remove"), "the target cpu has records"),
    ):
        done = run(checkout, "new-target", *words)
        assert done.returncode == 2 and said in done.stderr, (words, done.stderr)
    assert git(checkout, "status", "--porcelain") == ""
