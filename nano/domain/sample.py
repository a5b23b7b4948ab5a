"""One example for gpt-oss-nano: what a client sends, and what the model should answer."""

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

EFFORTS = ("low", "medium", "high")
IDENTITY = "You are ChatGPT, a large language model trained by OpenAI."  # openai_harmony's default
CUTOFF = "2024-06"  # openai_harmony's default
HELD_OUT_SHARE = 12  # one combination in so many is kept from training


@dataclass
class Sample:
    """A request in the terms of the chat API, and the one completion it should get.

    `history` holds chat messages; an assistant's message may carry `reasoning`, and `call` (name, arguments)
    or `builtin` (recipient, text) where it called something. The completion is `analysis` followed by one of
    `final` (text), `answer` (an object: a JSON final message), `call` or `builtin`.
    """

    skill: str
    key: tuple
    history: list[dict]
    analysis: str = ""
    final: str | None = None
    answer: dict | None = None
    call: tuple[str, dict] | None = None
    builtin: tuple[str, str] | None = None
    effort: str = "medium"
    date: str = "2026-01-01"
    identity: str = IDENTITY
    cutoff: str = CUTOFF
    instructions: str | None = None
    tools: list[dict] = field(default_factory=list)
    namespaces: list[dict] = field(default_factory=list)
    schema: dict | None = None
    forced: bool = False
    expect: list[str] = field(default_factory=list)
    task: str = ""

    @property
    def held_out(self) -> bool:
        """Whether this combination belongs to the evaluation and never to the training."""
        return held_out(self.key)


def held_out(key: tuple) -> bool:
    """A fixed pseudo-random twelfth of all combinations."""
    digest = hashlib.sha256(json.dumps(key, ensure_ascii=False).encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_SHARE == 0


@dataclass
class Draw:
    """The generator's source of chance: a seeded random stream and words from outside the vocabulary."""

    rng: random.Random
    rare_word: Callable[[random.Random], str] | None = None

    def one(self, options):
        """One of a sequence."""
        return self.rng.choice(options)

    def some(self, options, low: int, high: int) -> list:
        """Between `low` and `high` different ones of a sequence."""
        return self.rng.sample(options, self.rng.randint(low, min(high, len(options))))

    def number(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return self.rng.randint(low, high)

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.rng.random() < probability

    def rare(self, otherwise: str = "something") -> str:
        """A word that the model cannot say (an ordinary one where the vocabulary is being collected)."""
        return self.rare_word(self.rng) if self.rare_word else otherwise


def user(text: str) -> dict:
    """A user's message."""
    return {"role": "user", "content": text}


def said(text: str) -> dict:
    """An assistant's earlier answer."""
    return {"role": "assistant", "content": text}
