"""Where packages come from and go to: pip's own configuration, told to uv, which does not read it; whose a Python is.

Standard library only: the bootstrap uses it before the workbench exists.
"""

import ast
import os
import subprocess
from pathlib import Path

_FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


def pip_configuration(python: str | Path) -> dict[str, str]:
    """pip's settings (`find-links`, `index-url`, ...) from its files and environment; environment wins."""
    listed = subprocess.run([str(python), "-m", "pip", "config", "list"], capture_output=True, text=True)
    files: dict[str, str] = {}
    environment: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        key, separator, value = line.partition("=")
        section, _, name = key.strip().rpartition(".")
        if separator:
            (environment if section == ":env:" else files)[name] = str(ast.literal_eval(value.strip()))
    return files | environment


def uv_settings(configuration: dict[str, str]) -> dict[str, str]:
    """The uv variables that say what pip's configuration says (lists are comma-separated for uv).

    Extra indexes that are folders are left out: uv wants every package of a lock to exist in them.
    """
    settings = {}
    for name, variable in _FROM_PIP.items():
        values = configuration.get(name, "").split()
        if name == "extra-index-url":
            values = [value for value in values if value.startswith("http")]
        if values:
            settings[variable] = ",".join(values) if name == "find-links" else " ".join(values)
    return settings


def uv_environment(environ: dict[str, str], python: str | Path) -> dict[str, str]:
    """`environ` with pip's configuration added for uv; what the user set for uv stays."""
    return (
        uv_settings(pip_configuration(python))
        | {"UV_NO_PROGRESS": "1", "UV_NO_WRAP": "1", "UV_LINK_MODE": "copy"}
        | environ
    )


def find_links(environ: dict[str, str]) -> list[Path]:
    """The local wheel folders among uv's find-links."""
    return [Path(entry) for entry in environ.get("UV_FIND_LINKS", "").split(",") if os.path.isdir(entry)]


def is_environment(python: Path, folder: Path) -> bool:
    """Whether a Python belongs to the whole environment in `folder`.

    That of one which was cut off while it was made names another prefix, or has no folder for packages: what uv is told to
    install there lands in the environment of the program that calls it.
    """
    code = "import os, sys, sysconfig; print(sys.prefix if os.path.isdir(sysconfig.get_path('purelib')) else '')"
    argv = [str(python), "-c", code]
    prefix = subprocess.run(argv, capture_output=True, text=True).stdout.strip() if python.exists() else ""
    return bool(prefix) and Path(prefix).resolve() == folder.resolve()
