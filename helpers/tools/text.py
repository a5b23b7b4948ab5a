"""Text on its way to the model: bounded, printable, and unable to pass for Harmony's own tokens."""

import re

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
