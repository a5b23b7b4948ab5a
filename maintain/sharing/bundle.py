"""One file that carries a run to others: record, executed notebook and log, secrets masked, and what ties them together."""

import hashlib
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from helpers import redact
from helpers.errors import CookbookError
from helpers.paths import CACHE, ROOT, shown
from helpers.records.record import RunRecord, first_problem

MANIFEST = "manifest.json"
RECORD, NOTEBOOK, LOG = "record.json", "notebook.ipynb", "server.log"
LIMITS = {MANIFEST: 2**16, RECORD: 2**20, NOTEBOOK: 24 * 2**20, LOG: 64 * 2**20}  # bytes, unpacked
NAME = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})"  # on the forge
EPOCH = (1980, 1, 1, 0, 0, 0)  # one run gives one file, whenever it is packed


class Manifest(BaseModel):
    """What a bundle says of itself."""

    model_config = ConfigDict(extra="forbid")

    schema_: Literal[1] = Field(1, alias="schema")
    contributor: Annotated[str, Field(pattern=f"^{NAME}$")]
    image_digest: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")] = (
        ""  # of the container it ran in; empty: none
    )
    versions: dict[str, str]
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]  # sha256 by name


def pack(folder: Path, out: Path, contributor: str, image_digest: str = "") -> Path:
    """Write a passed run's bundle. Raises `CookbookError` where the run did not pass or a name is wrong."""
    if not re.fullmatch(NAME, contributor):
        why = f"{contributor!r} is no name on a forge (letters, digits, hyphens)" if contributor else "nobody is named"
        raise CookbookError("the bundle was not written", why=why, do="pass --contributor NAME, your name on the forge")
    record = RunRecord.read(folder / RECORD)
    if record.state != "passed":
        raise CookbookError(
            f"{shown(folder)} is not packed", why=f"it {record.state}: {record.why}", do="pack a run that passed"
        )
    public = record.model_copy(update={"parameters": record.parameters | {"run_dir": ""}})
    places = {str(folder.resolve()): f"runs/{folder.name}", f"{ROOT}/": "", str(CACHE): ".cache", str(Path.home()): "~"}
    texts = {RECORD: public.model_dump_json(by_alias=True, indent=1)}
    for name in (NOTEBOOK, LOG):
        if not (folder / name).is_file():
            raise CookbookError(f"{shown(folder)} has no {name}", do="run the target with `cookbook run`")
        text = (folder / name).read_text(encoding="utf-8", errors="replace")
        for place, said in places.items():
            text = text.replace(json.dumps(place)[1:-1], said)
        texts[name] = masked(text) if name == NOTEBOOK else redact.text(text)
    files = {name: sha256(text.encode()) for name, text in texts.items()}
    try:
        manifest = Manifest(contributor=contributor, image_digest=image_digest, versions=record.versions, files=files)
    except ValidationError as error:
        raise CookbookError(
            "the bundle was not written", why=first_problem(error), do="write --image-digest as sha256:..."
        ) from None
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {MANIFEST: manifest.model_dump_json(by_alias=True, indent=1), **texts}.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), text, zipfile.ZIP_DEFLATED)
    return out


def masked(notebook: str) -> str:
    """A notebook whose outputs hold no secret. Its cells stay as they are: they are the page's own, or the bundle is refused."""
    document = json.loads(notebook)
    for cell in document["cells"]:
        if "outputs" in cell:
            cell["outputs"] = strings(cell["outputs"], redact.text)
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def strings(value: Any, of: Callable[[str], str]) -> Any:
    """Nested data with every text replaced by what `of` makes of it, pictures aside; the lines of a text are one text."""
    if isinstance(value, str):
        return of(value)
    if isinstance(value, list):
        lines = bool(value) and all(isinstance(item, str) for item in value)
        return of("".join(value)) if lines else [strings(item, of) for item in value]
    if isinstance(value, dict):
        return {key: item if key == "image/png" else strings(item, of) for key, item in value.items()}
    return value


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def unpack(file: Path) -> tuple[Manifest, dict[str, str]]:
    """The manifest and the texts of a bundle, nothing written. Raises `CookbookError` for what is no whole bundle."""
    try:
        with zipfile.ZipFile(file) as archive:
            contents = {name: _read(archive, name) for name in _names(archive, file)}
        manifest = Manifest.model_validate_json(contents.pop(MANIFEST))
        texts = {name: content.decode("utf-8") for name, content in contents.items()}
    except (OSError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise CookbookError(
            f"{file} is no bundle",
            why=getattr(error, "strerror", None) or str(error),
            do="pack it with `cookbook publish --bundle`",
        ) from None
    except (ValidationError, UnicodeDecodeError) as error:
        why = first_problem(error) if isinstance(error, ValidationError) else "a file is no text"
        raise CookbookError(
            f"{file.name} is damaged", why=why, do="pack it anew with `cookbook publish --bundle`"
        ) from None
    changed = [name for name, content in contents.items() if manifest.files.get(name) != sha256(content)]
    if changed or set(manifest.files) != set(contents):
        raise CookbookError(
            f"{file.name} is damaged",
            why=f"{', '.join(changed) or 'a file'} is not what its manifest names",
            do="pack it anew",
        )
    return manifest, texts


def _names(archive: zipfile.ZipFile, file: Path) -> list[str]:
    found = {info.filename: info.file_size for info in archive.infolist()}
    if set(found) != set(LIMITS) or len(archive.infolist()) != len(LIMITS):
        odd = (
            ", ".join(sorted(re.sub(r"[^\w./-]", "?", name) for name in set(found) ^ set(LIMITS))[:4]) or "a name twice"
        )
        raise CookbookError(
            f"{file.name} is no bundle", why=f"it does not hold just its four files ({odd})", do="pack it anew"
        )
    large = [name for name, size in found.items() if size > LIMITS[name]]
    if large:
        raise CookbookError(
            f"{file.name} is refused", why=f"{large[0]} is larger than a run's", do="pack a run of the recipe"
        )
    return list(found)


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """At most the limit's bytes: what an archive says of a file's size is the archive's word."""
    with archive.open(name) as file:
        content = file.read(LIMITS[name] + 1)
    if len(content) > LIMITS[name]:
        raise CookbookError(f"{name} is refused", why="it is larger than a run's", do="pack a run of the recipe")
    return content
