"""The house's own rules: sizes of modules and packages, class names that stand once, examples that run."""

import ast
import doctest
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.paths import ROOT

LINES, FILES = 300, 12  # of a module, of a package
TABLES = {"nano/domain/words.py"}  # words, not code
BUDGET = 22_000  # the parts that came after the house was built included
SMALL = 30
FORMATTED = ("helpers", "maintain", "hunt", "nano", "benchmarks", "tests")
MODULE = re.compile(r"^\s*(?:from|import) ((?:helpers|nano|maintain|hunt)[\w.]*)", re.M)
IN_STACK = "helpers/instack"  # imports torch and vllm, which the workbench does not hold


def sources() -> Iterator[tuple[str, Path]]:
    """(path below the checkout, file) of every module of helpers, nano, maintain and hunt."""
    for tree in ("helpers", "nano", "maintain", "hunt"):
        for path in sorted((ROOT / tree).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path


def long(lengths: dict[str, int]) -> set[str]:
    """The modules with more lines than a module may have."""
    return {name for name, lines in lengths.items() if lines > LINES} - TABLES


def twins(classes: dict[str, set[str]]) -> set[str]:
    """The class names that stand in two modules or more."""
    return {name for name, modules in classes.items() if len(modules) > 1}


def test_no_module_is_too_long() -> None:
    assert long({name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in sources()}) == set()


def test_helpers_stays_within_its_budget() -> None:
    """Lines of the package's Python: what a new feature adds, something that nobody needs makes room for."""
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in sources()}
    total = sum(lines for name, lines in lengths.items() if name.startswith("helpers/"))
    assert total <= BUDGET, f"helpers/ holds {total:,} lines"


def test_no_small_file_serves_one_caller() -> None:
    """A file of fewer than SMALL lines that one module imports is a part of that module."""
    texts = {name: path.read_text(encoding="utf-8") for name, path in sources()}
    imports = {name: set(MODULE.findall(text)) for name, text in texts.items()}
    found = []
    for name, text in texts.items():
        module = name.removesuffix(".py").replace("/", ".")
        users = [other for other, used in imports.items() if module in used and other != name]
        if len(text.splitlines()) < SMALL and len(users) == 1 and not name.endswith("__init__.py"):
            found.append(name)
    assert found == []


def test_no_package_holds_too_many_files() -> None:
    packages = defaultdict(list)
    for name, _ in sources():
        packages[name.rpartition("/")[0]].append(name)
    assert {name: len(files) for name, files in packages.items() if len(files) > FILES} == {}


def test_class_names_stand_once() -> None:
    classes = defaultdict(set)
    for name, path in sources():
        if name.startswith("helpers/"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    classes[node.name].add(name)
    assert twins(classes) == set()


def test_the_rules_can_be_broken() -> None:
    assert long({"helpers/a.py": LINES + 1, "helpers/b.py": LINES}) == {"helpers/a.py"}
    assert twins({"Plan": {"helpers/a.py", "helpers/b.py"}, "Point": {"helpers/a.py"}}) == {"Plan"}


EXAMPLES = [
    name.removesuffix(".py").replace("/", ".")
    for name, path in sources()
    if ">>> " in path.read_text(encoding="utf-8") and not name.startswith(IN_STACK)
]


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_in_docstrings_run(module: str) -> None:
    outcome = doctest.testmod(importlib.import_module(module))
    assert outcome.attempted and not outcome.failed


def unformatted(folder: Path = ROOT) -> list[str]:
    """The lines that the formatter is told to leave alone."""
    told = re.compile("# fmt: " + "(skip|off)")
    found = [path for tree in FORMATTED for path in sorted((folder / tree).rglob("*.py"))]
    return [
        f"{path.relative_to(folder)}:{n}"
        for path in found
        for n, line in enumerate(path.read_text().splitlines(), 1)
        if told.search(line)
    ]


def test_the_formatter_formats_every_line(tmp_path: Path) -> None:
    assert unformatted() == []
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "planted.py").write_text("x = 1\ny = [1,2]  # fmt: " + "skip\n")
    assert unformatted(tmp_path) == ["helpers/planted.py:2"]
