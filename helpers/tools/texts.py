"""The tools' texts as gpt-oss saw them in training, taken from the Harmony library rather than copied."""

import functools

from helpers.errors import CookbookError


@functools.cache
def standard(name: str) -> dict:
    """The namespace `browser` or `python` of the Harmony library: description and tools with their schemas."""
    try:
        from openai_harmony import ToolNamespaceConfig
    except ImportError as error:
        raise CookbookError(
            "the Harmony library does not load",
            why=str(error),
            do="reinstall it with `pip install --force-reinstall --no-deps oss-harmony`",
        ) from error
    return getattr(ToolNamespaceConfig, name)().model_dump()


def python_instructions(data: bool = False) -> str:
    """The python tool's standard text, and where the user's read-only files are if there are any."""
    text = standard("python")["description"]
    return f"{text} The user's files are in '/data', which is read-only." if data else text


def browser_instructions() -> str:
    """The browser tool's standard text."""
    return standard("browser")["description"]


def browser_schemas() -> dict[str, tuple[str, dict]]:
    """The standard description and JSON schema of search, open and find."""
    return {tool["name"]: (tool["description"], tool["parameters"]) for tool in standard("browser")["tools"]}
