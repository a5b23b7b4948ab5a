"""`notebooks/studies/<target>.ipynb`: everything that the records of a machine say, on a page that runs nothing."""

from pathlib import Path

import jinja2
import nbformat
from nbformat import NotebookNode

from helpers.paths import NOTEBOOKS, RECORDS
from helpers.recipes import check_parameters, load_target, target_names
from helpers.records.curves import newest_of, speed_records
from maintain.pages import measured
from maintain.pages.levers.rows import one_host
from maintain.pages.notebook import keep_outputs
from maintain.pages.pages import fill
from maintain.studies.answers import answers
from maintain.studies.runs import flags, medians, starts_said

TEMPLATE = Path(__file__).with_name("study.py.jinja")
KERNEL = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def studied() -> list[str]:
    """The targets whose records measured gpt-oss itself."""
    return [name for name in target_names() if speed_records(name)]


def path_of(name: str) -> Path:
    """Where the study of a target stands."""
    return NOTEBOOKS / "studies" / f"{name}.ipynb"


def study_source(name: str) -> str:
    """The study of a target as py:percent text."""
    target, records = load_target(name), speed_records(name)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["comment"] = lambda text: text.replace("\n", "\n# ")
    return environment.from_string(TEMPLATE.read_text()).render(
        target=target,
        sentences=measured.sentences(target, check_parameters(target).model, records),
        summary=measured.summary(records),
        drawn=measured.drawn(target, records),
        medians=medians(records),
        other_flags=" ".join(filter(None, (flags(newest_of(records), model) for model in target.models))),
        answers=answers(name).markdown,
        one_host="\n\n".join(filter(None, (one_host(name, model, target.stack.vllm) for model in target.models))),
        routed_models=measured.with_evidence(target, "routing-synthetic"),
        dummy_models=measured.with_evidence(target, "dummy"),
        tuned=path_of(f"{name}_tuning").exists(),
        levered=(RECORDS / name / "evidence" / "levers.json").exists(),
        starts=measured.starts(target),
        starts_said=starts_said(target),
        not_taken=measured.not_taken(target, records),
    )


def from_source(source: str) -> NotebookNode:
    """A notebook without outputs; cell ids follow from their place, so that rendering twice gives the same bytes."""
    import jupytext  # it asks for pandoc as it is imported

    notebook = jupytext.reads(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(KERNEL)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
        cell.metadata = nbformat.from_dict({"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {})
    return notebook


def render(name: str) -> NotebookNode:
    """The study of a target as it should be on disk."""
    new, path = from_source(study_source(name)), path_of(name)
    return fill(keep_outputs(new, nbformat.read(path, as_version=4)) if path.exists() else new)
