"""What a target notebook is given is what its kernel sees: the recipe's values for the model that was asked for."""

import json
from pathlib import Path

import nbformat
import papermill
import pytest

from helpers.errors import CookbookError
from helpers.recipes import check_parameters, load_target, target_names
from helpers.runs.execute import resolved_parameters, run_target
from helpers.runs.namespace import parameters_of
from maintain.pages.notebook import path_of

OFFERED = [(name, model) for name in target_names() for model in load_target(name).models]


def parameter_cells(notebook: nbformat.NotebookNode) -> list[str]:
    """The sources that set parameters: the notebook's own, then what papermill injected."""
    wanted = {"parameters", "injected-parameters"}
    return [cell.source for cell in notebook.cells if wanted & set(cell.metadata.get("tags", []))]


def kernel_parameters(notebook: nbformat.NotebookNode) -> dict:
    """What `start(target, globals())` reads in the kernel of this notebook."""
    namespace: dict = {"In": parameter_cells(notebook)}
    for source in namespace["In"]:
        exec(source, namespace)
    return parameters_of(namespace)


@pytest.mark.parametrize("target, model", OFFERED, ids="-".join)
def test_plain_papermill_with_another_model_takes_the_recipes_values(target: str, model: str, tmp_path: Path):
    """The literals of the parameters cell belong to no model: tensor-parallel size and weights stay open."""
    given = {"model": model}
    done = papermill.execute_notebook(
        str(path_of(target)), str(tmp_path / "out.ipynb"), parameters=given, prepare_only=True
    )
    recipe = load_target(target)
    assert check_parameters(recipe, kernel_parameters(done)) == check_parameters(recipe, given)


def prepared_by_run_target(target: str, given: dict, folder: Path, monkeypatch) -> dict:
    """What the kernel would see of `cookbook run`, with papermill stopped before it starts one."""
    execute = papermill.execute_notebook
    monkeypatch.setattr(
        papermill, "execute_notebook", lambda *words, **more: execute(*words, **more, prepare_only=True)
    )
    with pytest.raises(CookbookError, match="ended before its run began"):
        run_target(target, {**given, "run_dir": str(folder)}, progress=False)
    return kernel_parameters(nbformat.read(folder / "notebook.ipynb", as_version=4))


@pytest.mark.parametrize(
    "target, given, size, weights",
    [
        ("h100", {"model": "gpt-oss-120b"}, 2, "hub"),
        ("a100", {"model": "gpt-oss-120b"}, 2, "hub"),
        ("rtx4090", {"model": "gpt-oss-120b"}, 4, "hub"),
        ("arc_pro_b60", {"model": "gpt-oss-120b"}, 4, "hub"),
        ("cpu", {"model": "gpt-oss-20b"}, 1, "hub"),
        ("b200", {"activations": "mxfp8"}, 1, "hub"),
        ("cpu", {"tensor_parallel_size": 0, "weights": ""}, 1, "nano"),
    ],
)
def test_the_kernel_sees_the_checked_values(target, given, size, weights, tmp_path: Path, monkeypatch, caplog):
    seen = prepared_by_run_target(target, given, tmp_path / "run", monkeypatch)
    assert (seen["tensor_parallel_size"], seen["weights"]) == (size, weights)
    checked = check_parameters(load_target(target), {**given, "run_dir": seen["run_dir"]})
    assert check_parameters(load_target(target), seen) == checked
    assert "unknown parameter" not in caplog.text


def test_a_checkpoints_folder_is_found_from_the_kernels_folder(tmp_path: Path, monkeypatch):
    """The kernel starts beside the notebook, not where the command was given."""
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolved_parameters("cpu", {"weights": "model"})["weights"] == str(tmp_path / "model")


def test_nothing_is_sent_that_the_notebook_does_not_declare(tmp_path: Path, monkeypatch):
    """papermill warns about such a name; one that the caller gave goes through, to be refused by the run."""
    seen = prepared_by_run_target("cpu", {}, tmp_path / "run", monkeypatch)
    cell = next(
        c for c in json.loads(path_of("cpu").read_text())["cells"] if "parameters" in c["metadata"].get("tags", [])
    )
    assert "activations" not in "".join(cell["source"]) and "activations" not in seen


@pytest.mark.parametrize("left_open", [{"model": ""}, {"weights": ""}, {"profile": ""}, {"tensor_parallel_size": 0}])
def test_empty_stands_for_the_recipes_own(left_open: dict):
    for name in ("h100", "cpu"):
        assert check_parameters(load_target(name), left_open) == check_parameters(load_target(name))


CELLS = (
    "print('the first')",
    "import json\nprint(json.loads(open('notebook.ipynb').read())['cells'][1]['outputs'][0]['text'])",
    "raise ValueError('broken')",
    "print('never')",
)


@pytest.mark.real
def test_the_file_is_saved_as_a_code_cell_starts_and_where_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A cell finds on disk what was before it; prose, and what the next cell's save holds anyway, cost no save."""
    from helpers.runs.notebook_file import OneSaveACell, WholeFiles, save_whole

    saved: list[list[str]] = []
    write = WholeFiles.write

    def counted(self: WholeFiles, text: str, path: str) -> None:
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        saved.append([cell["metadata"]["papermill"]["status"] for cell in cells])
        write(self, text, path)

    monkeypatch.setattr(WholeFiles, "write", counted)
    v4 = nbformat.v4
    cells = [cell for source in CELLS for cell in (v4.new_markdown_cell("Prose."), v4.new_code_cell(source))]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "source.ipynb")
    save_whole(tmp_path)
    how = {"cwd": str(tmp_path), "progress_bar": False, "kernel_name": "python3", "engine_name": OneSaveACell.NAME}
    with pytest.raises(papermill.PapermillExecutionError, match="broken"):
        papermill.execute_notebook(str(tmp_path / "source.ipynb"), str(tmp_path / "notebook.ipynb"), **how)
    executed = {cell.source: cell for cell in nbformat.read(tmp_path / "notebook.ipynb", as_version=4).cells}
    assert "the first" in executed[CELLS[1]].outputs[0].text
    before = [states.index("running") for states in saved if "running" in states]
    assert before == [0, 1, 2] and saved[-1][:3] == ["completed", "completed", "failed"] and len(saved) <= 7, saved
