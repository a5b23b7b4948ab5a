"""Notebooks from one template and a recipe, keeping the outputs of cells whose source has not changed."""

import ast
from pathlib import Path

import jinja2
import jupytext
import nbformat
from nbformat import NotebookNode

from helpers.bench.tune.study import studies
from helpers.files import write_whole
from helpers.pages.answers import answers
from helpers.paths import LOCKS, NOTEBOOKS, shown
from helpers.recipes import check_parameters, load_model, load_target
from helpers.records.curves import speed_records
from maintain.pages import measured, sections
from maintain.pages.pages import fill

TEMPLATE = Path(__file__).with_name("target.py.jinja")
KERNEL = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def target_source(name: str) -> str:
    """The notebook of a target as py:percent text: the template filled in from the recipe and its records."""
    target = load_target(name)
    parameters = check_parameters(target)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["comment"] = lambda text: text.replace("\n", "\n# ")
    template = environment.from_string(TEMPLATE.read_text())
    lock, records = LOCKS / f"{target.stack.install}.txt", speed_records(name)
    ran = measured.latest_passed(name)
    return template.render(
        target=target,
        parameters=parameters,
        model=load_model(parameters.model),
        machine_needs=measured.machine_needs(target),
        time_needed=measured.time_needed(name),
        verified=measured.verified(name),
        has_run=ran is not None,
        served=measured.served(ran) if ran else "",
        sizes=sections.sizes(target),
        backends=sections.backends(target),
        limits=sections.limits(target),
        activations=sections.activations(target),
        lock=shown(lock) if lock.exists() else "",
        shell=sections.command(target, parameters, "shell"),
        docker=sections.command(target, parameters, "docker"),
        measured=measured.summary(records) if records else "",
        drawn=measured.drawn(target, records),
        answers=answers(name).markdown,
        routed_models=measured.with_evidence(target, "routing-synthetic"),
        dummy_models=measured.with_evidence(target, "dummy"),
        tuned=bool(studies(name)),
        not_taken=measured.not_taken(target, records),
    )


def from_source(source: str) -> NotebookNode:
    """A notebook without outputs; cell ids follow from their place, so that rendering twice gives the same bytes."""
    notebook = jupytext.reads(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(KERNEL)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
        cell.metadata = nbformat.from_dict({"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {})
    return notebook


def keep_outputs(new: NotebookNode, old: NotebookNode) -> NotebookNode:
    """Give cells the outputs that a cell with the same code had before, in order."""
    remembered: dict[str, list[NotebookNode]] = {}
    for cell in old.cells:
        if cell.cell_type == "code":
            remembered.setdefault(code_of(cell), []).append(cell)
    for cell in new.cells:
        if cell.cell_type == "code" and remembered.get(code_of(cell)):
            before = remembered[code_of(cell)].pop(0)
            cell.outputs, cell.execution_count = before.outputs, before.execution_count
    return new


def code_of(cell: NotebookNode) -> str:
    """What a cell does: its code without comments and blank lines, which change nothing of its output."""
    try:
        return ast.dump(ast.parse(cell.source))
    except SyntaxError:
        return cell.source.strip()


def render(name: str) -> NotebookNode:
    """The notebook of a target as it should be on disk."""
    new = from_source(target_source(name))
    path = path_of(name)
    return fill(keep_outputs(new, nbformat.read(path, as_version=4)) if path.exists() else new)


def path_of(name: str) -> Path:
    return NOTEBOOKS / "targets" / f"{name}.ipynb"


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all, in the one form that the repository keeps."""
    write_whole(path, text_of(notebook))


def text_of(notebook: NotebookNode) -> str:
    nbformat.validate(notebook)
    return nbformat.writes(notebook, indent=1) + "\n"
