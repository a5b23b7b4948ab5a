"""Text on its way to the model: bounded, printable, and unable to pass for Harmony's own tokens."""

import functools
import re

from helpers.errors import CookbookError

# Harmony's special tokens (openai_harmony, o200k_harmony). Encoders of tool results treat these spellings as
# ordinary text; broken up, they stay ordinary text in every renderer, chat templates included.
_SPECIAL = re.compile(
    r"<\|(?=(?:start|end|message|channel|constrain|call|return|startoftext|endoftext|endofprompt|reserved_\d+)\|>)"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def harmless(text: str) -> str:
    """The text without terminal escapes, control characters and spellings of special tokens."""
    return _SPECIAL.sub("<\u2060|", _CONTROL.sub("\ufffd", _ANSI.sub("", text)))


def shorten(text: str, limit: int, dropped: int = 0) -> str:
    """At most about `limit` characters: the head, how much was left out (`dropped` before this), the tail."""
    if len(text) <= limit and not dropped:
        return text
    tail = limit // 4
    head = limit - tail
    out = max(0, len(text) - limit) + dropped
    return f"{text[:head]}\n[... {out} characters left out ...]\n{text[-tail:]}"


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
