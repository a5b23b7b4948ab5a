"""Changing one key of a YAML file and no other byte: comments, order and line breaks stay."""

from typing import Any

import yaml

WIDTH = 118
STEP = 2  # spaces of indentation


def with_value(text: str, path: list[str], value: Any) -> str:
    """The text with `value` at `path`; mappings on the way that do not exist are made, after their last sibling.

    >>> print(with_value("a:  # first\\n  b: 1\\nc: 2\\n", ["a", "d"], 3), end="")
    a:  # first
      b: 1
      d: 3
    c: 2
    """
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    node, rest, key = yaml.compose(text), list(path), None
    while rest and isinstance(node, yaml.MappingNode) and not node.flow_style:
        found = next((pair for pair in node.value if pair[0].value == rest[0]), None)
        if found is None:
            break
        key, node = found
        rest.pop(0)
    if rest and isinstance(node, yaml.MappingNode) and not node.flow_style:
        last = node.value[-1][1]
        at, column = end_line(last), node.value[0][0].start_mark.column
        return "".join([*lines[:at], block(nested(rest, value), column), *lines[at:]])
    # The key is there with another value (or with a mapping in braces, which is opened up).
    content = nested(rest, value) if rest else value
    if rest and isinstance(node, yaml.MappingNode):
        content = merged(yaml.safe_load(yaml.serialize(node)) or {}, content)
    first, after = key.start_mark.line, end_line(node)
    return "".join([*lines[:first], block({key.value: content}, key.start_mark.column), *lines[after:]])


def nested(path: list[str], value: Any) -> Any:
    """The value under the keys of a path."""
    for name in reversed(path):
        value = {name: value}
    return value


def merged(old: dict, new: dict) -> dict:
    """`new` laid over `old`, mapping by mapping."""
    both = dict(old)
    for name, value in new.items():
        inner = isinstance(value, dict) and isinstance(both.get(name), dict)
        both[name] = merged(both[name], value) if inner else value
    return both


def block(content: dict, column: int) -> str:
    """A mapping as indented lines."""
    dumped = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=WIDTH - column, indent=STEP)
    return "".join(" " * column + line for line in dumped.splitlines(keepends=True))


def end_line(node: yaml.Node) -> int:
    """The number of the first line after a node, without the comments and blank lines that follow it."""
    if isinstance(node, yaml.MappingNode | yaml.SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return end_line(last[1] if isinstance(last, tuple) else last)
    mark = node.end_mark
    return mark.line if mark.column == 0 and mark.line > node.start_mark.line else mark.line + 1
