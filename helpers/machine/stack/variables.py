"""The environment variables that an installed vLLM knows, read off its source: importing it costs 20 CPU-seconds."""

import ast
from collections.abc import Iterable
from pathlib import Path

TABLE = "environment_variables"  # the table of vllm/envs.py whose keys are the variables vLLM knows


def table_keys(source: str, table: str = TABLE) -> set[str]:
    """The string keys of the dict that a module assigns to `table`."""
    for node in ast.walk(ast.parse(source)):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        named = any(isinstance(one, ast.Name) and one.id == table for one in targets)
        value = getattr(node, "value", None)
        if named and isinstance(value, ast.Dict):
            keys = [key.value for key in value.keys if isinstance(key, ast.Constant)]
            return {key for key in keys if isinstance(key, str)}
    return set()


def unknown_variables(names: Iterable[str], site: Path) -> list[str] | None:
    """Those of the VLLM_* `names` that the vLLM in `site` does not know; None where it cannot be read."""
    try:
        known = table_keys((site / "vllm" / "envs.py").read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    return sorted(set(names) - known) if known else None
