"""The parameters of a notebook, read from its namespace, and what papermill let through."""

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from helpers.recipes import Parameters

INJECTED = "# Parameters"  # the first line of the cell that papermill injects


def injected_names(cells: Iterable[str]) -> set[str]:
    """The names that papermill's injected cells assign: what the caller asked for, known or not."""
    names: set[str] = set()
    for source in cells:
        if source.lstrip().startswith(INJECTED):
            names |= assigned_names(source)
    return names


def assigned_names(source: str) -> set[str]:
    """The names that a piece of code assigns to."""
    nodes = ast.walk(ast.parse(source))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def parameters_of(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the known parameters in a namespace, and every name that papermill injected.

    papermill only warns about a parameter that the notebook does not have; passed on from here, it is
    refused like any other unknown parameter.
    """
    names = set(Parameters.model_fields) | injected_names(namespace.get("In", []))
    return {name: namespace[name] for name in sorted(names) if name in namespace}
