"""The rooms import one way: every import of every module, also those inside functions, held against helpers/layers.py."""

import ast
import functools
import graphlib
from pathlib import Path

import pytest

from helpers.layers import ORDER, allowed, room_of
from helpers.paths import ROOT

TREES = ("helpers", "maintain", "nano", "benchmarks", "hunt")
INSTACK = ("helpers.instack", "nano.training")  # what runs with a stack's interpreter
HEAVY = {"vllm", "torch", "transformers"}
DISPLAY = {"matplotlib", "ipywidgets"}


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the trees, a package by its own name."""
    found = {}
    for tree in TREES:
        for path in sorted((ROOT / tree).rglob("*.py")):
            words = path.relative_to(ROOT).with_suffix("").parts
            if "tests" not in words:
                found[".".join(words).removesuffix(".__init__")] = path
    return found


def imports(source: str) -> set[str]:
    """The modules that a source imports, wherever in it: ours by their full name, others as they are written."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules() else node.module for name in names}
    return found


@functools.cache
def arrows() -> dict[str, set[str]]:
    """What each module imports."""
    return {name: imports(path.read_text(encoding="utf-8")) for name, path in modules().items()}


def wrong(name: str, imported: set[str]) -> set[tuple[str, str]]:
    """(importer, imported) of every import of a module that goes to a later room."""
    ours = {other for other in imported if room_of(other)}
    return {(name, other) for other in ours if room_of(name) and not allowed(name, other)}


def test_no_room_imports_a_later_one() -> None:
    found = set().union(*(wrong(name, imported) for name, imported in arrows().items()))
    assert not found, "\n".join(f"{name} imports {other}" for name, other in sorted(found))


def test_every_module_has_a_room() -> None:
    assert [name for name in modules() if not room_of(name) and name != "helpers"] == []


@pytest.mark.parametrize(
    ("name", "line", "other"),
    [
        ("helpers.recipes.target", "from helpers.records import claims", "helpers.records.claims"),
        ("helpers.server.launch", "def late():\n    from helpers.runs.run import Run", "helpers.runs.run"),
        ("helpers.tools.text", "from helpers.tools import servers", "helpers.tools.servers"),
        ("helpers.cli.nano", "import nano.commands", "nano.commands"),
    ],
)
def test_a_planted_import_is_found(name: str, line: str, other: str) -> None:
    """It can fail: at the top of a module, inside a function, from a room to the one around it, into the factory."""
    source = modules()[name].read_text(encoding="utf-8")
    assert wrong(name, imports(source)) == set()
    assert wrong(name, imports(f"{source}\n\n{line}\n")) == {(name, other)}


def test_no_two_modules_import_each_other() -> None:
    """Nor any longer circle, imports inside functions counted: `python -m graphlib` would find an order of all modules."""
    graph = {name: {other for other in imported if other in modules()} - {name} for name, imported in arrows().items()}
    list(graphlib.TopologicalSorter(graph).static_order())


def test_the_stack_is_imported_only_inside_it() -> None:
    """Only what runs in a stack imports vllm, torch or transformers, and nothing of the workbench imports that."""
    for name, imported in arrows().items():
        if not name.startswith((*INSTACK, "benchmarks")):
            assert not {other.split(".")[0] for other in imported} & HEAVY, name
            assert not [other for other in imported if other.startswith(INSTACK)], name


def test_nothing_before_the_plots_draws() -> None:
    for name, imported in arrows().items():
        if name.startswith("helpers.") and room_of(name) and ORDER[room_of(name)] < ORDER["helpers.plots"]:
            assert not {other.split(".")[0] for other in imported} & DISPLAY, name
