"""The parameters of a notebook, read from its namespace, and what papermill let through."""

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from helpers.recipes import Parameters

INJECTED = "# Parameters"  # the first line of the cell that papermill injects
OF_THE_MODEL = ("weights", "tensor_parallel_size")  # a page's values hold for its own model


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
    refused like any other unknown parameter. Where it injected another model, the page's weights and
    size are left to the recipe, unless they were injected too.
    """
    injected = injected_names(namespace.get("In", []))
    names = set(Parameters.model_fields) | injected
    if "model" in injected:
        names -= set(OF_THE_MODEL) - injected
    return {name: namespace[name] for name in sorted(names) if name in namespace}
