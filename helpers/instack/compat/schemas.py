"""Tool schemas in what Harmony's renderer shows: types, lists of types, enums of strings, fields, items and `oneOf`.

It hides `$ref`, `anyOf`, `allOf`, `const` and the values of other enums: the model reads `any` (oss-harmony 0.0.11).
"""

import json
from typing import Any

DEPTH, NODES = 6, 300  # how far references are followed, and how large a schema may grow: one may point at itself
SCALARS = {str: "string", bool: "boolean", int: "integer", float: "number"}
Schema = dict[str, Any]


def shown(schema: Any) -> Any:
    """The schema with every part in a form that is shown; the same object where it is so already."""
    if not isinstance(schema, dict):
        return schema
    tables = {name: table for name in ("$defs", "definitions") if isinstance(table := schema.get(name), dict)}
    bare = {key: value for key, value in schema.items() if key not in tables}
    new = _Schema(tables).shown(bare, 0)
    return schema if new == bare else new


class _Schema:
    """One tool's schema: what its references point at, and how many nodes it has become so far."""

    def __init__(self, tables: dict[str, Schema]):
        self.tables, self.nodes = tables, 0

    def shown(self, node: Any, depth: int) -> Any:
        """One node and what is below it; `depth` counts the references followed."""
        if not isinstance(node, dict):
            return node
        self.nodes += 1
        while "$ref" in node:
            depth += 1
            target = self._target(node["$ref"]) if depth <= DEPTH and self.nodes <= NODES else {"type": "object"}
            node = target | {key: value for key, value in node.items() if key != "$ref"}
        node = _with_values(node)
        if isinstance(fields := node.get("properties"), dict):
            fields = {name: self.shown(part, depth) for name, part in fields.items()}
            node = {"type": "object"} | node | {"properties": fields}
        for key in ("items", "additionalProperties", "oneOf", "anyOf", "allOf", "prefixItems"):
            if isinstance(part := node.get(key), list):
                node = node | {key: [self.shown(one, depth) for one in part]}
            elif isinstance(part, dict):
                node = node | {key: self.shown(part, depth)}
        return _either(node)

    def _target(self, name: Any) -> Schema:
        """What a reference within the schema points at; an object without fields for any other."""
        table, _, key = str(name).removeprefix("#/").partition("/")
        found = self.tables.get(table, {}).get(key.replace("~1", "/").replace("~0", "~"))
        return found if isinstance(found, dict) else {"type": "object"}


def _with_values(node: Schema) -> Schema:
    """A constant as an enum of one; values that are no strings in the description, with their type."""
    if "const" in node:
        node = {"enum": [node["const"]]} | {key: value for key, value in node.items() if key != "const"}
    values = node.get("enum")
    if not isinstance(values, list) or all(isinstance(value, str) for value in values):
        return {"type": "string"} | node if values and "type" not in node else node
    kinds = list(dict.fromkeys(SCALARS.get(type(value), "null") for value in values))
    listed = "One of " + ", ".join(json.dumps(value) for value in values) + "."
    said = str(node.get("description") or "")
    words = said if listed in said else f"{said} {listed}".strip()
    return node | {"type": node.get("type", kinds[0] if len(kinds) == 1 else kinds), "description": words}


def _either(node: Schema) -> Schema:
    """`anyOf` as a list of types where one branch is null and the other a plain one, else as `oneOf`; a lone branch as itself."""
    rest = {key: value for key, value in node.items() if key not in ("anyOf", "allOf")}
    parts = node.get("anyOf") or node.get("allOf") or []
    if len(parts) == 1:
        return parts[0] | rest
    if not node.get("anyOf"):
        return node
    others = [part for part in parts if part.get("type") != "null"]
    one = others[0] if len(others) == 1 else {}
    if one.get("type") in SCALARS.values():
        values = {"enum": [*one["enum"], None]} if isinstance(one.get("enum"), list) else {}
        return _with_values(one | values | {"type": [one["type"], "null"]} | rest)
    return {"oneOf": parts} | rest
