"""What CONTRIBUTING.md tells people to type works on a fresh clone."""

import re
import subprocess
from pathlib import Path

import nbformat
import pytest

from helpers.paths import ROOT, TARGETS
from maintain.batch import load_plan

PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)
    return found


@pytest.mark.real
def test_the_papermill_loop_runs_on_a_fresh_clone(tmp_path: Path) -> None:
    """The documented lines as they stand, over a small notebook in the place of the target's; there is no runs/ yet."""
    target = ROOT / "notebooks" / "targets" / "h200.ipynb"
    cells = nbformat.read(target, as_version=4).cells
    own = next(cell for cell in cells if "parameters" in cell.metadata.get("tags", []))
    small = nbformat.v4.new_notebook(cells=[own, nbformat.v4.new_code_cell("print('size', tensor_parallel_size)")])
    small.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (tmp_path / "notebooks" / "targets").mkdir(parents=True)
    nbformat.write(small, tmp_path / "notebooks" / "targets" / "h200.ipynb")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    done = subprocess.run(["bash", "-c", block("bash")], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for size in (1, 2):
        ran = nbformat.read(tmp_path / "runs" / f"h200-tp{size}.ipynb", as_version=4)
        assert ran.cells[-1].outputs[0].text == f"size {size}\n"


def test_the_plan_is_one(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(block("yaml"))
    _, runs, _ = load_plan(path)
    assert len(runs) == 4 and not any(run.skip for run in runs)


def test_every_command_of_the_page_exists(cli) -> None:
    commands = sorted(set(re.findall(r"\.venv/bin/cookbook ([a-z-]+)", PAGE)))
    assert len(commands) >= 8
    for command in commands:
        assert cli(command, "--help").returncode == 0, command
    for module in set(re.findall(r"python -m ([a-z_.]+)", PAGE)) - {"pytest"}:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_the_command_line_takes_every_example_of_its_help() -> None:
    """Each command stands in one group of `cookbook --help`, and no example has a word that the command does not know."""
    import shlex
    import tomllib

    import typer

    from helpers.cli import HELP, application

    groups = tomllib.loads(HELP.read_text())
    root = typer.main.get_command(application())
    listed = [name for named in groups.values() for name in named]
    assert sorted(listed) == sorted(root.commands) and len(listed) == len(set(listed))
    examples = [(name, one) for named in groups.values() for name, given in named.items() for one in given]
    assert len(examples) >= len(listed)
    for name, example in examples:
        words = shlex.split(example.rpartition("| ")[2])
        assert words[:2] == ["cookbook", name], example
        root.commands[name].make_context(name, words[2:])


@pytest.mark.parametrize("like", ["h200", "h100", "mi300x", "rtx5090"])
def test_a_scaffold_says_of_the_new_machine_nothing_that_was_measured_on_another(like: str) -> None:
    import yaml

    from maintain.scaffold import recipe_text

    text = recipe_text((TARGETS / f"{like}.yaml").read_text(), "new", like)
    recipe = yaml.safe_load(text)
    assert "this target's" not in text and f"cookbook eval {like}" not in text
    assert recipe["device"]["source"].startswith("TODO")
    assert "run on " not in recipe["expect"]["source"] or recipe["expect"]["source"].startswith("TODO")
