"""What a release changed in the flags and variables that the recipes use, read off the sources of two releases."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.machine.stack.variables import TABLE
from maintain.releases import OPTION_SOURCES

ENGINE = "vllm/engine/arg_utils.py"


@dataclass(frozen=True)
class Change:
    """One flag or variable whose declaration differs between two releases; an empty text: there is none."""

    name: str
    before: str
    after: str


def changes(used: set[str], old: Path, new: Path) -> list[Change]:
    """Those of the options (`--x`) and variables (`VLLM_X`) in use whose declaration differs between two folders of sources.

    What is not declared in a form that this reads (aliases, a parser's own lines) is not seen.
    """
    before, after = declarations(old), declarations(new)
    found = [(name, before.get(plain(name), ""), after.get(plain(name), "")) for name in sorted(used)]
    return [Change(*one) for one in found if one[1] != one[2]]


def plain(name: str) -> str:
    """The name of the field behind an option: `--no-enable-x` sets `enable_x`.

    >>> plain("--no-enable-prefix-caching"), plain("VLLM_CPU_KVCACHE_SPACE")
    ('enable_prefix_caching', 'VLLM_CPU_KVCACHE_SPACE')
    """
    return name.removeprefix("--").removeprefix("no-").replace("-", "_") if name.startswith("--") else name


def declarations(sources: Path) -> dict[str, str]:
    """Type and default of every option, and the reading of every variable, by name, as the sources write them."""
    fields = {
        (cls, name): text
        for path in sorted((sources / "vllm/config").glob("*.py"))
        for cls, name, text in _fields(path)
    }
    found: dict[str, str] = {}
    for path in sorted((sources / "vllm").rglob("*.py")):
        relative = path.relative_to(sources).as_posix()
        if relative.endswith(OPTION_SOURCES):
            for _, name, text in _fields(path):
                default = text.rpartition(" = ")[2]
                origin = fields.get(tuple(default.split(".", 1))) if relative == ENGINE and "." in default else None
                found.setdefault(name, origin or text)
    return found | _variables(sources / "vllm/envs.py")


def _fields(path: Path) -> Iterator[tuple[str, str, str]]:
    """(class, field, "type = default") of every annotated field of a module's classes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for item in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                default = f" = {ast.unparse(item.value)}" if item.value else ""
                yield node.name, item.target.id, ast.unparse(item.annotation) + default


def _variables(path: Path) -> dict[str, str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name) and target.id == TABLE and isinstance(node.value, ast.Dict):
            pairs = zip(node.value.keys, node.value.values, strict=True)
            return {str(key.value): ast.unparse(value) for key, value in pairs if isinstance(key, ast.Constant)}
    return {}
