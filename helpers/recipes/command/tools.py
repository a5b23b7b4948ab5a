"""The python and browser tool servers beside a vLLM in a container: `recipes/tool_servers.yaml`, filled in."""

from functools import cache
from typing import Any

import yaml

from helpers.paths import RECIPES
from helpers.recipes.files import Loader

# Lets a request ask for the built-in tools as {"type": "mcp", "server_label": ...}; vLLM ignores them otherwise.
MCP_LABELS = {"VLLM_GPT_OSS_SYSTEM_TOOL_MCP_LABELS": "code_interpreter,web_search_preview"}
COMPOSE = {"python": "tools-python", "browser": "tools-browser"}  # the services' names, by which vLLM reaches them


@cache
def _forms() -> dict[str, Any]:
    forms: dict[str, Any] = yaml.load((RECIPES / "tool_servers.yaml").read_text(encoding="utf-8"), Loader)
    return forms


def part(name: str, **values: str) -> Any:
    """One part of the file, with HOST, CONTEXT and VLLM replaced."""
    values["DOCKERFILE"] = _forms()["dockerfile"]

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {filled(key): filled(value) for key, value in node.items()}
        if isinstance(node, list):
            return [filled(item) for item in node]
        for word, value in values.items() if isinstance(node, str) else ():
            node = node.replace(word, value)
        return node

    return filled(_forms()[name])


def addresses(hosts: dict[str, str]) -> str:
    """The value of `--tool-server` for servers on these hosts."""
    return ",".join(f"{host}:{_forms()['ports'][name]}" for name, host in hosts.items())
