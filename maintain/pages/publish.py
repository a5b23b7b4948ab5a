"""From an executed run to what the repository keeps: the notebook with its outputs, its record, the pages on both.

A topic's page has no record: `.venv/bin/python -m maintain.pages.publish endpoints` executes it and keeps what it shows.
"""

import json
import os
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers.errors import CookbookError
from helpers.paths import NOTEBOOKS, RECORDS, ROOT, RUNS, shown
from helpers.progress import OFF
from helpers.records.record import RunRecord
from maintain.pages.notebook import keep_outputs, path_of, source_of, write
from maintain.pages.overview import refresh
from maintain.pages.pages import fill

# A program or file where only that machine keeps it: a page names the thing itself.
OWN = re.compile(r"(?:(?<![\w.:/<~-])|(?<=\\n))/(?:opt|home|srv|scratch|Users)/(?:[\w.+-]+/)*([\w.+-]+)")


def _code(cells: list[NotebookNode]) -> list[str]:
    return [cell.source.strip() for cell in cells if cell.cell_type == "code"]


def cleaned(executed: NotebookNode, source: NotebookNode, folders: dict[str, str]) -> NotebookNode:
    """The outputs of an executed notebook on its source's cells, counted from 1.

    `folders` says what to write for the absolute folders of the machine that it ran on.
    """
    cells = [cell for cell in executed.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    if _code(cells) != _code(source.cells):  # the text around may have changed: its claims follow the records
        raise CookbookError("the executed notebook is not the present one", do="render it, run it, then publish")
    count = 0
    for old, new in zip(cells, source.cells, strict=True):
        if new.cell_type == "code":
            count += 1
            new.execution_count = count
            text = json.dumps(old.outputs)
            for folder, shown_as in folders.items():
                text = text.replace(json.dumps(folder)[1:-1], shown_as)
            text = OWN.sub(r"\1", text)
            new.outputs = [nbformat.from_dict(output) for output in joined(json.loads(text))]
            for output in new.outputs:
                if "execution_count" in output:
                    output.execution_count = count
                about = output.get("metadata", {})
                for kind in set(about) - {"image/png"}:  # where a picture's alternative text is
                    del about[kind]
    return source


def joined(outputs: list[dict]) -> list[dict]:
    """The outputs of a cell with what it printed piece by piece as one text, as a reader saw it."""
    merged: list[dict] = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output["output_type"] == last.get("output_type") == "stream" and output["name"] == last["name"]:
            last["text"] = "".join(last["text"]) + "".join(output["text"])
        else:
            merged.append(dict(output))
    return merged


def publish(folder: Path) -> list[Path]:
    """Keep a passed run: `notebooks/targets/<target>.ipynb` with its outputs, `recipes/records/<target>/`.

    The README and start_here.ipynb follow: their matrix is read from the records.
    """
    record = RunRecord.read(folder / "record.json")
    if record.state != "passed":
        raise CookbookError(
            f"{shown(folder)} is not published", why=f"it {record.state}: {record.why}", do="publish a run that passed"
        )
    executed = nbformat.read(folder / "notebook.ipynb", as_version=4)
    # The record goes first: the page's own claims about time and verification are rendered from it.
    kept = RECORDS / record.target / f"{record.finished:%Y%m%d-%H%M%S}-{record.model}-{record.weights}.json"
    public = record.model_copy(update={"parameters": record.parameters | {"run_dir": ""}})
    source = source_of(record.target, record)
    folders = {f"{ROOT}/": "", record.parameters["run_dir"] or str(folder): f"runs/{folder.name}"}
    notebook = cleaned(executed, source, folders)
    public.write(kept)
    # With the record there the page says more (and draws what was measured): the outputs move onto it.
    write(fill(keep_outputs(source_of(record.target, record), notebook)), path_of(record.target))
    return [path_of(record.target), kept, *refresh()]


def executed(name: str) -> Path:
    """Run a topic's page with its own parameters and keep its outputs; the run itself is at `runs/topics/NAME.ipynb`."""
    import papermill

    os.environ[OFF] = "1"
    page, run = NOTEBOOKS / "topics" / f"{name}.ipynb", RUNS / "topics" / f"{name}.ipynb"
    run.parent.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(str(page), str(run), cwd=str(page.parent), progress_bar=False)
    done, source = nbformat.read(run, as_version=4), nbformat.read(page, as_version=4)
    write(fill(cleaned(done, source, {f"{ROOT}/": ""})), page)
    return page


if __name__ == "__main__":
    for topic in sys.argv[1:]:
        print(executed(topic))
