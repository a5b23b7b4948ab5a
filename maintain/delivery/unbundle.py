"""Unpack what `cookbook bundle` wrote, on a host that has Python and nothing else: `python3 unbundle.py FOLDER` beside the parts.

Standard library only. Every part is checked before a byte of it is unpacked. The environments then get this host's Python and
this folder's name, and `make run` finds everything installed.
"""

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path

MANIFEST = "bundle.json"
CHUNK = 2**20


class BundleError(Exception):
    """A bundle that cannot be unpacked: what, why, what to do on one line."""


class Parts(io.RawIOBase):
    """The parts one after the other as one stream."""

    def __init__(self, paths: list[Path]):
        self.rest = [path.open("rb") for path in paths]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while self.rest:
            count = self.rest[0].readinto(buffer)
            if count:
                return count
            self.rest.pop(0).close()
        return 0


def checked(folder: Path) -> dict:
    """The manifest of a bundle whose parts are all there and whole."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        parts = manifest["parts"]
    except (OSError, ValueError, KeyError):
        why = f"its {MANIFEST} is missing or damaged"
        raise BundleError(f"the folder {folder} holds no bundle because {why}; name the one with the parts") from None
    for part in parts:
        path, digest = folder / Path(part["name"]).name, hashlib.sha256()
        if not path.exists():
            raise BundleError(f"{part['name']} is missing; copy every part into {folder}")
        with path.open("rb") as file:
            while block := file.read(CHUNK):
                digest.update(block)
        if digest.hexdigest() != part["sha256"]:
            raise BundleError(f"{part['name']} is damaged because its sha256 differs; copy it again")
    return manifest


def interpreters(manifest: dict) -> dict[str, str]:
    """This host's Python for each environment. Raises where one is not installed."""
    found = {}
    for name, version in manifest["python"].items():
        own = f"{sys.version_info[0]}.{sys.version_info[1]}" == version
        path = os.path.realpath(sys.executable) if own else shutil.which(f"python{version}")
        if not path:
            raise BundleError(f"{name} needs Python {version} because it was packed with it; install python{version}")
        found[name] = path
    return found


def unbundle(folder: Path, target: Path, report=print) -> Path:
    """Unpack the parts of `folder` into `target`, which must not exist or be empty; returns the checkout."""
    manifest = checked(folder)
    pythons = interpreters(manifest)
    if target.exists() and any(target.iterdir()):
        raise BundleError(f"{target} is not empty; name a new folder")
    free = shutil.disk_usage(target.parent if target.parent.exists() else Path.cwd()).free
    if free < manifest["bytes"] * 1.05:
        raise BundleError(
            f"{target} does not fit because {free / 2**30:.1f} GiB are free and it takes {manifest['bytes'] / 2**30:.1f}"
        )
    target.mkdir(parents=True, exist_ok=True)
    report(f"{manifest['target']}: {len(manifest['parts'])} parts are whole, unpacking into {target}")
    parts = io.BufferedReader(Parts([folder / Path(part["name"]).name for part in manifest["parts"]]), CHUNK)
    with tarfile.open(fileobj=parts, mode="r|gz") as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(target, filter="data")
        else:
            archive.extractall(target, members=safe(archive))
    for name, python in pythons.items():
        settle(target.resolve(), name, python, manifest)
    return target


def safe(archive: tarfile.TarFile):
    """Members that stay inside, for a Python whose tarfile has no filter of its own."""
    for member in archive:
        names = [member.name] + ([member.linkname] if member.issym() or member.islnk() else [])
        if any(name.startswith("/") or ".." in name.split("/") for name in names) or member.isdev():
            raise BundleError(f"{member.name} would leave the folder; pack the bundle anew")
        yield member


def settle(root: Path, name: str, python: str, manifest: dict) -> None:
    """Give an environment this host's Python and this folder's name: links, settings, first lines of commands."""
    folder, version = root / name, manifest["python"][name]
    links = {"python": python, "python3": "python", f"python{version}": "python"}
    for link, to in links.items():
        (folder / "bin" / link).unlink(missing_ok=True)
        (folder / "bin" / link).symlink_to(to)
    settings = folder / "pyvenv.cfg"
    lines = [
        line for line in settings.read_text().splitlines() if not line.startswith(("home", "executable", "command"))
    ]
    settings.write_text("\n".join([f"home = {os.path.dirname(python)}", *lines]) + "\n")
    site = folder / "lib" / f"python{version}" / "site-packages"
    moved = {was: str(root / place) for place, was in manifest["places"].items()}
    for path in [*(folder / "bin").iterdir(), *site.glob("*.pth"), *site.glob("*.dist-info/direct_url.json")]:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > CHUNK:
            continue
        content = path.read_bytes()
        text = content
        for was, now in sorted(moved.items(), key=lambda pair: -len(pair[0])):  # `<root>/.venv` before `<root>`
            text = text.replace(was.encode(), now.rstrip("/.").encode())
        if text != content:
            path.write_bytes(text)


def main() -> None:
    """`unbundle.py FOLDER [PARTS]`: unpack the parts that lie beside this file, or in PARTS."""
    if not 2 <= len(sys.argv) <= 3:
        sys.exit("usage: python3 unbundle.py FOLDER [FOLDER_OF_THE_PARTS]")
    parts = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).resolve().parent
    try:
        target = unbundle(parts, Path(sys.argv[1]))
    except (BundleError, OSError, tarfile.TarError, EOFError) as error:
        sys.exit(f"unbundle: {error}")
    print(f"ready: cd {target} && make run TARGET={checked(parts)['target']}")


if __name__ == "__main__":
    main()
