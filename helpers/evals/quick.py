"""The quick gate: questions with known answers, asked twice and all at once, against kernels that answer gibberish.

A wrong kernel raises no error. Some answer the first request rightly and later ones not, some only fail
when requests are batched: so every question goes out in two rounds, all of a round in flight together.
"""

import html
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.checks.contract import Contract, Facts
from helpers.errors import CookbookError
from helpers.evals.catalogue import EMBEDDED

QUESTIONS = EMBEDDED / "quick.yaml"
ROUNDS = 2
TOKENS = 2048  # of one answer with its reasoning at low effort
TIMEOUT_S = 150.0  # of one answer; the whole gate is to stay under three minutes on a GPU
NEEDED = 0.9  # share of right answers in each round; gpt-oss-20b and -120b know every one of these
NEEDED_NANO = 0.3  # gpt-oss-nano knows them in part; noise gets none right


@dataclass(frozen=True)
class Reply:
    """One question's fate: what came, whether it is right, why it is none."""

    question: str
    round: int
    text: str
    right: bool
    fault: str = ""


@dataclass(frozen=True, repr=False)
class Gate:
    """Both rounds, and what was needed of each."""

    replies: list[Reply]
    needed: float
    seconds: float = 0.0
    tokens: int = 0
    rounds: int = field(default=ROUNDS)

    def share(self, number: int) -> float:
        """Right answers of a round."""
        round_ = [reply for reply in self.replies if reply.round == number]
        return sum(reply.right for reply in round_) / len(round_)

    @property
    def faults(self) -> list[Reply]:
        """Requests that failed and answers that are no text at all."""
        return [reply for reply in self.replies if reply.fault]

    @property
    def passed(self) -> bool:
        return not self.why()

    def why(self) -> str:
        """What is wrong, or ''."""
        for number in range(self.rounds):
            if self.share(number) < self.needed:
                first = next(reply for reply in self.replies if reply.round == number and not reply.right)
                return (f"round {number + 1}: {self.share(number):.0%} right, {self.needed:.0%} needed; "
                        f"{first.question!r} got {first.fault or repr(first.text[:60])}")  # fmt: skip
        return ""

    def contract(self) -> Contract:
        """The promise as a line that never varies."""
        facts = Facts()
        for number in range(ROUNDS):
            held = number < self.rounds and self.share(number) >= self.needed
            facts.need(f"round {number + 1}", held, self.why())
        return facts.contract("evals.quick", "accuracy")

    def text(self) -> str:
        rounds = ", ".join(f"round {n + 1} {self.share(n):.0%}" for n in range(self.rounds))
        mark = "✓" if self.passed else "✗"
        out = [
            f"{mark} quick gate: {rounds} of {len(self.replies) // self.rounds} questions, {self.seconds:.0f} s"
        ]
        out += [
            f"  {reply.question} -> {reply.fault or reply.text[:70]!r}"
            for reply in self.replies
            if not reply.right
        ][:5]
        return "\n".join(out)

    __str__ = __repr__ = text

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text())}</pre>"

    def raise_if_failed(self) -> "Gate":
        """Return it, or raise with the first wrong answer."""
        if not self.passed:
            raise CookbookError(
                "the model's answers are wrong", why=self.why(),
                do="try another --moe-backend or --attention-backend, and see `cookbook doctor --live`",
            )  # fmt: skip
        return self


def questions(path: Path = QUESTIONS) -> list[tuple[str, str]]:
    """(question, regular expression of the right answer)."""
    import yaml

    return [(entry["ask"], str(entry["expect"])) for entry in yaml.safe_load(path.read_text())]


def right(text: str, expected: str) -> bool:
    """Whether the last words of an answer hold what is expected, thousands separators aside."""
    plain = re.sub(r"(?<=\d)[,\u202f\u2009 ](?=\d{3}\b)", "", text)
    return re.search(rf"(?<![\w.])(?:{expected})(?!\w)", plain, re.I) is not None


def run_quick(base_url: str, model: str, path: Path = QUESTIONS, needed: float | None = None) -> Gate:
    """Ask every question in two rounds, each all at once, at low effort and temperature 0. `base_url` ends in /v1."""
    import time

    import httpx

    asked, began = questions(path), time.monotonic()
    if needed is None:
        needed = NEEDED_NANO if model == "gpt-oss-nano" else NEEDED
    key = os.environ.get("VLLM_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=len(asked))
    replies: list[Reply] = []
    tokens = 0
    with httpx.Client(
        base_url=base_url.rstrip("/"), headers=headers, timeout=TIMEOUT_S, limits=limits
    ) as client:
        for number in range(ROUNDS):
            with ThreadPoolExecutor(len(asked)) as pool:
                done = list(pool.map(lambda pair, n=number: _ask(client, model, *pair, n), asked))
            replies += [reply for reply, _ in done]
            tokens += sum(count for _, count in done)
            if all(reply.fault for reply in replies):
                break  # nobody answers: a second round would only take as long again
    rounds = 1 + max(reply.round for reply in replies)
    return Gate(replies, needed, time.monotonic() - began, tokens, rounds)


def _ask(client: Any, model: str, question: str, expected: str, number: int) -> tuple[Reply, int]:
    import httpx

    from helpers.doctor.live import gibberish

    body = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": TOKENS,
            "temperature": 0, "reasoning_effort": "low"}  # fmt: skip
    try:
        reply = client.post("/chat/completions", json=body)
        if reply.status_code != 200:
            return Reply(question, number, "", False, f"HTTP {reply.status_code}"), 0
        data = reply.json()
        text = data["choices"][0]["message"]["content"] or ""
    except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        return Reply(question, number, "", False, type(error).__name__), 0
    fault = "no answer" if not text.strip() else gibberish(text)
    return Reply(question, number, text, not fault and right(text, expected), fault), data["usage"][
        "completion_tokens"
    ]
