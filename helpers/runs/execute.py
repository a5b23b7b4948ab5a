"""`cookbook run`: papermill on a target's notebook, in a run folder, with the outcome on record."""

import json
import logging
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.errors import CookbookError, UsageError
from helpers.paths import NOTEBOOKS, ROOT, shown
from helpers.progress import OFF
from helpers.recipes import check_parameters, load_target
from helpers.records.record import RunRecord
from helpers.runs.folder import new_folder
from helpers.runs.namespace import assigned_names


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its folder, its record, and the error line if it failed."""

    folder: Path
    record: RunRecord
    error: str = ""

    @property
    def passed(self) -> bool:
        return self.record.state == "passed"


def notebook_of(target: str) -> Path:
    """The notebook of a target that has a recipe; raises `UsageError` for any other."""
    load_target(target)
    path = NOTEBOOKS / "targets" / f"{target}.ipynb"
    if not path.exists():
        raise UsageError(f"{target} has no notebook yet", do="run `cookbook render`")
    return path


def resolved_parameters(target: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of a run as it was checked, for the kernel to see exactly that and no literal of the notebook.

    The folder of a checkpoint is made absolute: the kernel starts in the notebook's folder, not in this one.
    """
    checked = check_parameters(load_target(target), given)
    values = checked.model_dump()
    if checked.weights_kind == "path":
        values["weights"] = str(Path(checked.weights).expanduser().resolve())
    return values


def declared(notebook: Path) -> set[str]:
    """The names in a notebook's parameters cell: papermill warns about any other that it is given."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    found = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return assigned_names("\n".join(found))


def run_target(target: str, given: Mapping[str, Any], progress: bool = True) -> Outcome:
    """Execute the target's notebook with papermill into a new run folder.

    Parameters are checked before anything starts, and the notebook gets the checked ones. A failing cell gives an
    `Outcome` whose record is `failed` with the cell's error; the executed notebook is kept in any case.
    """
    path = notebook_of(target)
    resolved = resolved_parameters(target, given)
    folder = Path(given["run_dir"]).resolve() if given.get("run_dir") else new_folder(target)
    folder.mkdir(parents=True, exist_ok=True)
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # jsonschema's IRIs: a second for 38 grammars
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    from helpers.runs.notebook_file import OneSaveACell, save_whole

    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    os.environ[OFF] = "1"
    # The kernel starts in the notebook's folder: it must find this package also where it is not installed.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    logging.getLogger("papermill").setLevel(logging.WARNING)
    save_whole(folder)
    print(f"{shown(path)} runs into {shown(folder)}; its server writes {shown(folder / 'server.log')}", flush=True)
    error = ""
    try:
        papermill.execute_notebook(
            str(path),
            str(folder / "notebook.ipynb"),
            parameters={name: resolved[name] for name in resolved if name in declared(path) or name in given}
            | {"run_dir": str(folder)},
            cwd=str(path.parent),
            engine_name=OneSaveACell.NAME,
            progress_bar=progress,
            coalesce_streams=True,  # an answer that streams is one output, not one a token
            config=Config({"ConnectionFileMixin": ipc()}),
        )
    except PapermillExecutionError as failure:
        error = error_line(failure)
    record = settled(folder, error)
    return Outcome(folder, record, error)


def ipc() -> dict[str, str]:
    """Unix sockets in the notebook's folder, not open TCP ports; under a name that no other run has, or two that start
    at one moment would take each other's (jupyter_client looks which numbers are free, then lets go)."""
    return {"transport": "ipc", "ip": f"kernel-{os.getpid()}-{secrets.token_hex(3)}"}


def error_line(failure: Any) -> str:
    """The message of the cell that failed, on one line: a `CookbookError` speaks for itself."""
    value = " ".join(str(failure.evalue).split())
    speaks = failure.ename in ("CookbookError", "UsageError", "ContractBroken", "RecipeError")
    return value if speaks else f"{failure.ename}: {value}"


def settled(folder: Path, error: str) -> RunRecord:
    """The record of a run that has ended; one that ended by an error says so."""
    path = folder / "record.json"
    if not path.exists():
        raise CookbookError(
            "the notebook ended before its run began",
            why=error or "it wrote no record",
            do=f"open {folder.name}/notebook.ipynb",
        )
    record = RunRecord.read(path)
    if error:
        record = RunRecord.model_validate(
            json.loads(record.model_dump_json(by_alias=True)) | {"state": "failed", "why": error}
        )
        record.write(path)
    return record
