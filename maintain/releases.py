"""The recipes against another release of vLLM: its wheel is read, and its parser run, without installing it."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from helpers import paths
from helpers.errors import CookbookError
from helpers.machine.stack.variables import TABLE, table_keys
from maintain.combinations import Combination, combinations
from maintain.parser import Fault, check_recipes

DOWNLOADS = paths.CACHE / "wheels"
MISSING_AT_MOST = 6  # libraries that a newer release needs and the stack has not, fetched one by one
# Files of a wheel in which options are declared: fields of these classes, and literal "--options".
OPTION_SOURCES = (
    "vllm/engine/arg_utils.py",
    "cli_args.py",
    "vllm/entrypoints/cli/serve.py",
    "vllm/utils/argparse_utils.py",
)


@dataclass(frozen=True)
class ReleaseReport:
    """What could be said about a release from its sources alone."""

    vllm: str
    commands: int
    variables: int  # how many variables were looked up
    options: int
    faults: list[Fault]
    not_checked: list[str] = field(default_factory=list)


def check_release(
    version: str, chosen: list[Combination] | None = None, report=print, python: Path | None = None
) -> ReleaseReport:
    """Every variable and option name of the recipes against the sources of vLLM `version`.

    With the interpreter of a stack, the release's own parser runs as well, on the libraries of that stack. Where
    it cannot, the report says so and what was therefore not checked.
    """
    chosen = list(combinations()) if chosen is None else chosen
    wheel = fetch_wheel(version, report)
    variables, options = read_wheel(wheel)
    found: dict[tuple[str, str, str], list[str]] = {}
    seen_variables, seen_options = set(), set()
    for one in chosen:
        for name in one.command.env:
            if name.startswith("VLLM_"):
                seen_variables.add(name)
                if name not in variables:
                    key = (one.origin("variable", name), name, f"unknown to vllm.envs of {version}")
                    found.setdefault(key, []).append(one.id)
        for name in one.command.options:
            seen_options.add(name)
            if name not in options and name.replace("--no-", "--", 1) not in options:
                message = f"no source of {version} declares it"
                found.setdefault((one.origin("flag", name), name, message), []).append(one.id)
    parsed, not_checked = _parsed(wheel, version, chosen, python)
    for fault in parsed:
        if not any(name == fault.name for _, name, _ in found):
            found.setdefault((fault.where, fault.name, fault.message), []).extend(fault.combinations)
    return ReleaseReport(
        vllm=version,
        commands=len(chosen),
        variables=len(seen_variables),
        options=len(seen_options),
        faults=[Fault(*key, tuple(ids)) for key, ids in found.items()],
        not_checked=[*not_checked, "which backends this release chooses on each GPU"],
    )


def _parsed(wheel: Path, version: str, chosen: list[Combination], python: Path | None) -> tuple[list[Fault], list[str]]:
    """What the release's own parser refuses, and what could not be asked."""
    values = "values of options and variables"
    if python is None:
        return [], [f"{values}: the wheel was read, its parser was not run"]
    folder = unpacked(wheel)
    for _ in range(MISSING_AT_MOST):
        try:
            parsed = check_recipes(python, chosen, folder)
            break
        except CookbookError as error:
            missing = re.search(r"No module named '(\w+)", error.why)
            if missing is None or not _added(missing.group(1), folder):
                why = error.why[:160]
                return [], [f"{values}: the parser of {version} does not run on this stack's libraries ({why})"]
    else:
        return [], [f"{values}: the parser of {version} needs too many libraries that this stack has not"]
    if not parsed.vllm.startswith(version):
        return [], [f"{values}: the stack's own vLLM {parsed.vllm} answered instead of {version}"]
    return parsed.faults, [f"{note} ({version})" for note in parsed.not_checked]


def _added(module: str, folder: Path) -> bool:
    """Put the release's own requirement of that name beside its sources; False where it names none."""
    metadata = next(folder.glob("vllm-*.dist-info/METADATA")).read_text()
    named = re.search(rf"^Requires-Dist: ({re.escape(module)}\b[^;\n]*)$", metadata, re.M | re.I)
    if named is None or (folder / module).exists():
        return False
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), named.group(1)]
    return subprocess.run(argv, capture_output=True).returncode == 0


def unpacked(wheel: Path) -> Path:
    """The Python sources of a wheel in a folder beside it, without its compiled parts."""
    folder = wheel.with_suffix("")
    if not folder.exists():
        with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory(dir=wheel.parent) as place:
            names = [name for name in archive.namelist() if not name.endswith((".so", ".cu", ".cuh", ".h", ".a"))]
            archive.extractall(place, names)
            shutil.copytree(place, f"{folder}.new", dirs_exist_ok=True)
        os.replace(f"{folder}.new", folder)
    return folder


def fetch_wheel(version: str, report=print, name: str = "vllm") -> Path:
    """The wheel of a release, from the cache or the package index (pip, without its dependencies)."""
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    present = sorted(DOWNLOADS.glob(pattern))
    if present:
        return present[0]
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    report(f"fetching the wheel of {name} {version} (some hundred MB) into {paths.shown(DOWNLOADS)}")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    argv += ["--python-version", "3.12", "--dest", str(DOWNLOADS), f"{name}=={version}"]
    for system in ("manylinux_2_28_x86_64", "manylinux_2_31_x86_64", "manylinux_2_35_x86_64", "manylinux1_x86_64"):
        argv += ["--platform", system]
    done = subprocess.run(argv, capture_output=True, text=True, env=dict(os.environ))
    present = sorted(DOWNLOADS.glob(pattern))
    if done.returncode or not present:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
        why = lines[-1].removeprefix("ERROR: ") if lines else f"exit code {done.returncode}"
        raise CookbookError(
            f"the wheel of {name} {version} could not be had", why=why[:200], do="check the version and the index"
        )
    return present[0]


def read_wheel(wheel: Path) -> tuple[set[str], set[str]]:
    """The variables of vllm/envs.py and the option names that the sources of a wheel declare."""
    with zipfile.ZipFile(wheel) as archive:
        variables = table_keys(archive.read("vllm/envs.py").decode(), TABLE)
        options: set[str] = set()
        for name in archive.namelist():
            if name.endswith(OPTION_SOURCES):
                options |= declared_options(archive.read(name).decode())
    if not variables or not options:
        raise CookbookError(
            f"{wheel.name} could not be read", why=f"vllm/envs.py has no table {TABLE} or no options were found"
        )
    return variables, options


def declared_options(source: str) -> set[str]:
    """Option names: literal "--name" strings, and the fields of classes, which vLLM turns into options."""
    options = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("--"):
            options.add("--" + node.value[2:].replace("_", "-"))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            options.add("--" + node.target.id.replace("_", "-"))
    return options
