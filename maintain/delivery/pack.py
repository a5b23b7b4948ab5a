"""`cookbook bundle TARGET`: everything that a run of a target needs, in parts, for a host without a network.

Packed are the checkout's committed files, the workbench, the target's serving stack, the built test model, the sandbox, and a
checkpoint if asked. For one GPU architecture, code that other cards would run is left out.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from helpers import paths
from helpers.errors import CookbookError, UsageError
from helpers.files import write_whole
from helpers.machine import bootstrap
from helpers.machine.stack import ServingStack
from helpers.recipes import load_target
from maintain.delivery import fatbin, unbundle

LEVEL = 1  # of gzip: a fifth of the time of the default for a tenth more bytes
PART_MB = 1900  # below what FAT and many upload forms take


class Splitter:
    """A file that is written as parts of a given size, each with its sha256."""

    def __init__(self, folder: Path, size: int):
        self.folder, self.size, self.parts = folder, size, []
        self.file: BinaryIO | None = None

    def write(self, content: bytes) -> int:
        view = memoryview(content)
        while view:
            if self.file is None:
                name = f"part{len(self.parts):03}"
                self.file, self.written, self.digest = (self.folder / name).open("wb"), 0, hashlib.sha256()
                self.parts.append({"name": name})
            block = view[: self.size - self.written]
            self.file.write(block)
            self.digest.update(block)
            self.written += len(block)
            view = view[len(block) :]
            if self.written == self.size:
                self.close()
        return len(content)

    def flush(self) -> None:
        """What gzip asks of a file; a part is whole when it is closed."""

    def close(self) -> None:
        """End the part that is open."""
        if self.file:
            self.file.close()
            self.parts[-1] |= {"bytes": self.written, "sha256": self.digest.hexdigest()}
            self.file = None


def bundle(
    name: str,
    out: Path,
    arch: str = "",
    weights: Path | None = None,
    part_mb: int = PART_MB,
    level: int = LEVEL,
    report: Callable[[str], object] = print,
) -> dict:
    """Write the parts, their manifest and `unbundle.py` into `out`; returns the manifest. Raises `CookbookError`.

    `part_mb` is in 10^6 bytes, `level` gzip's: 0 copies.
    """
    target = load_target(name)
    sm = architecture(arch)
    stack = ServingStack(target.stack.install)
    if not stack.ready():
        raise CookbookError(f"the stack {stack.name} is not installed", do=f"run `cookbook install {stack.name}`")
    ready = paths.ROOT / ".venv" / ".ready"  # else the host without a network would install it anew
    if not ready.is_file() or ready.read_text().strip() != bootstrap.fingerprint():
        raise CookbookError("the workbench is not what its lock says", do="run `make setup`")
    if part_mb < 1:
        raise UsageError(f"a part of {part_mb} MB holds nothing", do="pass --part-mb 1 or more")
    if out.exists() and any(out.iterdir()):
        raise CookbookError(f"{paths.shown(out)} is not empty", do="name a new folder")
    if weights is not None and not (weights / "config.json").is_file():
        raise UsageError(f"{weights} is no checkpoint", why="it has no config.json", do="name the folder of one")
    out.mkdir(parents=True, exist_ok=True)
    environments = {".venv": paths.ROOT / ".venv", f".stacks/{stack.name}": stack.folder}
    packed = places(environments, weights)
    for what in absent(packed):
        report(f"not packed: {what}")
    splitter, total = Splitter(out, part_mb * 10**6), 0
    with (
        gzip.GzipFile(fileobj=splitter, mode="wb", compresslevel=level, mtime=0) as packed_stream,
        tarfile.open(fileobj=packed_stream, mode="w|") as archive,
    ):
        for file in committed():
            total += add(archive, paths.ROOT / file, file)
        for place, folder in packed.items():
            report(f"packing {place}")
            for path in walk(folder):
                relative = path.relative_to(folder).as_posix()
                if place in environments and re.fullmatch(r"bin/python[\d.]*", relative):
                    continue  # the host's own, linked when it is unpacked
                total += add(archive, path, f"{place}/{relative}", sm if place.startswith(".stacks") else 0)
    splitter.close()
    manifest = {
        "schema": 1,
        "target": name,
        "arch": arch,
        "commit": commit(),
        "bytes": total,
        "python": {place: version(folder) for place, folder in environments.items()},
        "places": {".": str(paths.ROOT), **{place: str(folder) for place, folder in environments.items()}},
        "parts": splitter.parts,
    }
    write_whole(out / unbundle.MANIFEST, json.dumps(manifest, indent=1) + "\n")
    shutil.copy(unbundle.__file__, out / "unbundle.py")
    return manifest


def architecture(arch: str) -> int:
    """The number of an architecture, 0 for none: `sm_90` is 90."""
    if not arch:
        return 0
    found = re.fullmatch(r"sm_(\d{2,3})", arch)
    if found is None:
        raise UsageError(f"unknown architecture {arch!r}", do="write it as sm_90")
    return int(found.group(1))


def places(environments: dict[str, Path], weights: Path | None) -> dict[str, Path]:
    """Every folder that is packed beside the committed files, by its place below the checkout."""
    from helpers.tools.sandbox.wasm import HOME

    found = dict(environments)
    models = sorted((paths.CACHE / "models").glob("gpt-oss-nano-*"), key=lambda path: path.stat().st_mtime)
    built = [path for path in models if (path / "config.json").is_file()]
    if built:
        found[f".cache/models/{built[-1].name}"] = built[-1]
    if HOME.is_dir():
        found[f".stacks/{HOME.name}"] = HOME
    if weights is not None:
        found[f"weights/{weights.resolve().name}"] = weights.resolve()
    return found


def absent(packed: dict[str, Path]) -> list[str]:
    """What a bundle may hold and is not here, and what follows."""
    missing = []
    if not any(place.startswith(".cache/models/") for place in packed):
        missing.append("the test model, which the first run there builds")
    if ".stacks/wasm" not in packed:
        missing.append("the sandbox of the python tool; `.venv/bin/python -m helpers.tools.setup` installs it here")
    return missing


def walk(folder: Path) -> Iterator[Path]:
    """Every file and link below a folder, in order; bytecode of environments travels, it is part of them."""
    for where, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(where) / name).is_symlink()]
        yield from (Path(where) / name for name in sorted([*names, *links]) if not name.endswith(".lock"))


def add(archive: tarfile.TarFile, path: Path, name: str, sm: int = 0) -> int:
    """Add a file, cut down to one architecture where it is a library; returns its bytes."""
    info = archive.gettarinfo(str(path), name)
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    if info.issym() and os.path.isabs(info.linkname):  # out of the folder: its content travels
        path = path.resolve()
        if not path.is_file():
            return 0
        info = archive.gettarinfo(str(path), name)
    if info.islnk():  # a second name of a file: uv links where it can
        info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
    if not info.isreg():
        archive.addfile(info)
        return 0
    if sm and re.search(r"\.so(\.\d+)*$", name):
        return add_trimmed(archive, path, info, sm)
    with path.open("rb") as file:
        archive.addfile(info, file)
    return info.size


def add_trimmed(archive: tarfile.TarFile, path: Path, info: tarfile.TarInfo, sm: int) -> int:
    """Add a library without what other cards would run: zeros stand there, and gzip packs them away."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copy(path, scratch))
        fatbin.trim(copy, sm)
        with copy.open("rb") as file:
            archive.addfile(info, file)
    return info.size


def committed() -> list[str]:
    """The files of the checkout that git knows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=paths.ROOT, capture_output=True, text=True)
    files = [name for name in listed.stdout.split("\0") if name and (paths.ROOT / name).exists()]
    if listed.returncode or not files:
        raise CookbookError(
            "the checkout's files are not known", why="git does not list them", do="pack from a git checkout"
        )
    return files


def commit() -> str:
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True)
    return asked.stdout.strip()


def version(folder: Path) -> str:
    """The minor version of an environment's Python."""
    return next((folder / "lib").glob("python3.*")).name.removeprefix("python")
