"""Notebooks from one template and a recipe, keeping the outputs of cells whose source has not changed.

The template is a notebook: its code cells are plain Python that runs for the target `cpu`, its Markdown cells are Jinja. A
cell with the tag `with-records` is for targets that records speak of.
"""

import ast
import re

import jinja2
import nbformat
from nbformat import NotebookNode

from helpers.files import write_whole
from helpers.paths import LOCKS, NOTEBOOKS, shown
from helpers.recipes import NANO, Parameters, Target, check_parameters, load_model, load_target
from helpers.records.age import pin
from helpers.records.curves import speed_records
from helpers.records.record import RunRecord
from maintain.pages import measured, sections
from maintain.pages.pages import fill

TEMPLATE = NOTEBOOKS / "targets" / "_template.ipynb"
WITH_RECORDS, PARAMETERS = "with-records", "parameters"
HELP = {
    "weights": "hub, synthetic, nano, or the path of a checkpoint",
    "replicas": "copies of the server",
    "activations": "bf16 or mxfp8, of the experts; the risks are below",
    "port": "port on loopback; 0 picks a free one",
    "install": "stack, or existing (the Python that already holds vLLM)",
    "rehearse": "run every cell on the CPU stack with gpt-oss-nano",
    "concurrency": "requests in flight, one point of the sweep each",
    "input_tokens": "prompt length of the sweep",
    "output_tokens": "answer length of the sweep",
    "run_dir": "the run's folder; None: a new one under runs/",
    "keep_server": "leave the server running at the end",
}
HOLDS = "GPUs that one copy of the model is split over"


def source_of(name: str, ran: RunRecord | None = None) -> NotebookNode:
    """The notebook of a target without outputs: the template filled in from the recipe and its records.

    `ran` is the run whose outputs it will get: unless given, the newest of the model that the page on disk printed.
    """
    target = load_target(name)
    parameters = check_parameters(target)
    values = texts(target, parameters, ran or measured.latest_passed(name, printed_model(name)))
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    recorded = bool(speed_records(name))
    made = nbformat.read(TEMPLATE, as_version=4)
    made.cells = [c for c in made.cells if recorded or WITH_RECORDS not in c.metadata.get("tags", [])]
    for number, cell in enumerate(made.cells):
        cell.id = f"cell-{number:02}"
        if cell.cell_type == "markdown":
            cell.source = environment.from_string(cell.source).render(values).strip()
        elif PARAMETERS in cell.metadata.get("tags", []):
            cell.source = parameters_cell(target, parameters)
        elif WITH_RECORDS in cell.metadata.get("tags", []):
            cell.source = cell.source.replace('"h200"', f'"{name}"').replace('"gpt-oss-120b"', f'"{values["drawn"]}"')
        else:
            cell.source = cell.source.replace('"cpu"', f'"{name}"')
    return made


def printed_model(name: str) -> str:
    """The model that the outputs of a target's page are of, as its first cell printed it; empty where it has none."""
    path = path_of(name)
    cells = nbformat.read(path, as_version=4).cells if path.exists() else []
    printed = [output.get("data", {}).get("text/plain", "") for cell in cells for output in cell.get("outputs", [])]
    found = (re.search(r"^model +(\S+)$", text, re.M) for text in printed)
    return next((words[1] for words in found if words), "")


def texts(target: Target, parameters: Parameters, ran: RunRecord | None) -> dict[str, object]:
    """What the Markdown cells of the template may name."""
    model, lock = load_model(parameters.model), LOCKS / f"{target.stack.install}.txt"
    records = speed_records(target.target)
    others = [name for name in target.models if name != parameters.model]
    return {
        "target": target,
        "model": model,
        "nano": parameters.model == NANO,
        "other_model": (others or [parameters.model])[0],
        "headline": measured.headline(target, parameters.model),
        "pin": pin(target.target),
        "machine_needs": measured.machine_needs(target),
        "time_needed": measured.time_needed(ran),
        "ran": f"{ran.finished:%Y-%m-%d}: {measured.served(ran)}" if ran else "",
        "sizes": sections.sizes(target),
        "backends": sections.backends(target),
        "limits": sections.limits(target),
        "activations": sections.activations(target),
        "profiles": sections.profiles(target),
        "lock": shown(lock) if lock.exists() else "",
        "install_lines": sections.install_lines(target),
        "download": sections.download_line(model),
        "shell": sections.command(target, parameters, "shell"),
        "docker": sections.command(target, parameters, "docker"),
        "vllm_line": sections.vllm_line(target),
        "interval": sections.interval(target, parameters.profile),
        "other_commands": [
            (name, sections.command(target, check_parameters(target, {"model": name}), "shell"))
            for name in others
            if parameters.model != NANO
        ],
        "drawn": measured.drawn_model(target, parameters.model, records),
        "sentences": measured.sentences(target, parameters.model, records) if records else "",
        "sources": "; ".join(target.sources),
    }


def parameters_cell(target: Target, parameters: Parameters) -> str:
    """The parameters cell: every value of a run of this page as a literal, with what it may be."""
    help_of = HELP | {
        "model": " or ".join(target.models),
        "tensor_parallel_size": HOLDS if target.match.vendor != "cpu" else HOLDS.replace("GPUs", "processes"),
        "profile": " or ".join(target.serve.profiles),
    }
    values = parameters.model_dump(exclude={"restart"}) | {"run_dir": None}  # a page's server ends with the page
    if not target.serve.activations:
        del values["activations"]
    kinds = {**{name: type(value).__name__ for name, value in values.items()}, "run_dir": "str"}
    literal = lambda value: f'"{value}"' if isinstance(value, str) else repr(value)  # noqa: E731
    return "\n".join(f"{n}: {kinds[n]} = {literal(v)}  # help: {help_of[n]}" for n, v in values.items())


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
    new, path = source_of(name), path_of(name)
    return fill(keep_outputs(new, nbformat.read(path, as_version=4)) if path.exists() else new)


def path_of(name: str):
    return NOTEBOOKS / "targets" / f"{name}.ipynb"


def write(notebook: NotebookNode, path) -> None:
    """Write a notebook whole or not at all, in the one form that the repository keeps."""
    write_whole(path, text_of(notebook))


def text_of(notebook: NotebookNode) -> str:
    nbformat.validate(notebook)
    return nbformat.writes(notebook, indent=1) + "\n"
