"""The quick gate: questions with known answers, asked twice and all at once, against kernels that answer gibberish.

A wrong kernel raises no error. Some answer the first request rightly and later ones not, some only fail
when requests are batched: so every question goes out in two rounds, all of a round in flight together.
"""

import os
import queue
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers.checks.contract import Contract, Facts
from helpers.checks.endpoints import ungrouped
from helpers.checks.pulse import Pulse
from helpers.checks.served import ready
from helpers.errors import CookbookError
from helpers.findings import Finding, Findings, preformatted
from helpers.keys import authorised
from helpers.paths import RECIPES
from helpers.recipes import NANO

if TYPE_CHECKING:
    import httpx

QUESTIONS = RECIPES / "evals" / "quick.yaml"
ALLOWED = 0.01  # share of failed samples up to which a score stands (issue of many a false 0.0)
ROUNDS = 2
TOKENS = 2048  # of one answer with its reasoning at low effort
SETTINGS = {"max_tokens": TOKENS, "temperature": 0, "reasoning_effort": "low"}
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
    noise: bool = False  # an answer came and is no text
    tokens: int = 0


@dataclass(frozen=True, repr=False)
class Gate:
    """Both rounds, and what was needed of each. `gone` says why the server was given up before the end."""

    replies: list[Reply]
    needed: float
    seconds: float = 0.0
    rounds: int = ROUNDS
    gone: str = ""

    def share(self, number: int) -> float:
        """Right answers of a round."""
        round_ = [reply for reply in self.replies if reply.round == number]
        return sum(reply.right for reply in round_) / len(round_)

    @property
    def tokens(self) -> int:
        return sum(reply.tokens for reply in self.replies)

    @property
    def faults(self) -> list[Reply]:
        """Requests that failed and answers that are no text at all."""
        return [reply for reply in self.replies if reply.fault]

    @property
    def causes(self) -> dict[str, int]:
        """The faults counted by what happened, the most frequent first."""
        return dict(Counter(reply.fault for reply in self.faults).most_common())

    @property
    def faulty(self) -> str:
        """More than 1 % of the requests have no readable answer: what is left of them makes no score."""
        if len(self.faults) <= ALLOWED * len(self.replies):
            return ""
        told = ", ".join(f"{count} x {cause}" for cause, count in self.causes.items())
        return f"{len(self.faults)} of {len(self.replies)} requests got no readable answer ({told}), more than 1 %"

    @property
    def failing(self) -> bool:
        """It is the server that fails, rather than the model that answers wrongly."""
        return bool(self.gone) or bool(self.faulty and not any(reply.noise for reply in self.faults))

    @property
    def passed(self) -> bool:
        return not self.why()

    @property
    def score(self) -> float | None:
        """Right answers over all rounds; None where the gate does not pass."""
        shares = [self.share(number) for number in range(self.rounds)]
        return sum(shares) / len(shares) if self.passed else None

    def why(self) -> str:
        """What is wrong, or ''."""
        if self.gone:
            return f"the server is gone: {self.gone}"
        for number in range(self.rounds):
            if self.share(number) < self.needed:
                first = next(reply for reply in self.replies if reply.round == number and not reply.right)
                text = (
                    f"round {number + 1}: {self.share(number):.0%} right, {self.needed:.0%} needed; "
                    f"{first.question!r} got {first.fault or repr(first.text[:60])}"
                )
                return f"{self.faulty}; {text}" if self.faulty else text
        return self.faulty

    def contract(self) -> Contract:
        """The promise as a line that never varies."""
        facts = Facts()
        failed = bool(self.gone or self.faulty)
        for number in range(ROUNDS):
            held = number < self.rounds and not failed and self.share(number) >= self.needed
            facts.need(f"round {number + 1}", held, self.why())
        return facts.contract("evals.quick", "accuracy")

    def finding(self) -> Finding:
        """Both rounds in one line."""
        rounds = ", ".join(f"round {n + 1} {self.share(n):.0%}" for n in range(self.rounds))
        seen = f"{rounds} of {len(self.replies) // self.rounds} questions, {self.seconds:.0f} s"
        return Finding("quick gate", self.passed, seen, f"{self.needed:.0%} right in each round")

    def text(self) -> str:
        out = [Findings([self.finding()]).text()]
        out += [f"  no score: {self.gone or self.faulty}"] if self.gone or self.faulty else []
        wrong = [reply for reply in self.replies if not reply.right]
        return "\n".join([*out, *(f"  {r.question} -> {r.fault or repr(r.text[:70])}" for r in wrong[:5])])

    __str__ = __repr__ = text

    def _repr_html_(self) -> str:
        return preformatted(self.text())

    def raise_if_failed(self) -> "Gate":
        """Return it, or raise: the server is gone, requests fail, or the answers are wrong."""
        if self.failing:
            what = "the quick gate could not be finished" if self.gone else "the quick gate gives no score"
            raise CookbookError(what, why=self.why(), do="see the server's log with `cookbook doctor`")
        if not self.passed:
            raise CookbookError(
                "the model's answers are wrong",
                why=self.why(),
                do="try another --moe-backend or --attention-backend, and see `cookbook doctor --live`",
            )
        return self


def questions() -> list[tuple[str, str]]:
    """(question, regular expression of the right answer)."""
    import yaml

    return [(entry["ask"], str(entry["expect"])) for entry in yaml.safe_load(QUESTIONS.read_text())]


def right(text: str, expected: str) -> bool:
    """Whether the last words of an answer hold what is expected, thousands separators aside."""
    return re.search(rf"(?<![\w.])(?:{expected})(?!\w)", ungrouped(text), re.I) is not None


def takes() -> str:
    """What the gate will ask, told before it starts."""
    return (
        f"quick gate: {len(questions())} questions x {ROUNDS} rounds, all of a round at once, at most {TOKENS:,} output tokens "
        "each (a short answer takes far fewer); meant to end within 3 min on a GPU, no time is on record"
    )


def run_quick(base_url: str, model: str) -> Gate:
    """Ask every question in two rounds, each all at once, at low effort and temperature 0. `base_url` ends in /v1.

    `CookbookError` when the server does not serve the model or does not answer a first request; one that is lost
    later ends the gate within a minute.
    """
    import httpx

    asked, began = questions(), time.monotonic()
    needed = NEEDED_NANO if model == NANO else NEEDED
    limits = httpx.Limits(max_connections=len(asked))
    replies: list[Reply] = []
    address, gone = base_url.rstrip("/"), ""
    with httpx.Client(base_url=address, headers=authorised(), timeout=TIMEOUT_S, limits=limits) as client:
        ready(client, model, SETTINGS).raise_if_failed("the quick gate is not started")
        pulse = Pulse(address, model, os.environ.get("VLLM_API_KEY") or "none")
        try:
            for number in range(ROUNDS):
                done, gone = _round(client, model, asked, number, pulse)
                replies += done
                if gone or all(reply.fault for reply in replies):
                    break  # nobody answers: a second round would only take as long again
        finally:
            pulse.end()
    return Gate(replies, needed, time.monotonic() - began, 1 + replies[-1].round, gone)


def _round(
    client: "httpx.Client", model: str, asked: list[tuple[str, str]], number: int, pulse: Pulse
) -> tuple[list[Reply], str]:
    """Every question at once; and why the server was given up, or ''. Questions without an answer are faults then."""
    done: queue.Queue[Reply] = queue.Queue()
    replies: dict[str, Reply] = {}
    gone = ""
    pulse.moved = time.monotonic()

    def ask(question: str, expected: str) -> None:
        done.put(_ask(client, model, question, expected, number))

    for pair in asked:  # daemons: a request to a dead server must not keep the process
        threading.Thread(target=ask, args=pair, daemon=True).start()
    while len(replies) < len(asked) and not gone:
        try:
            reply = done.get(timeout=1.0)
            replies[reply.question], pulse.moved = reply, time.monotonic()
        except queue.Empty:
            gone = pulse.gone()
    lost = [Reply(q, number, "", False, "the server is gone") for q, _ in asked if q not in replies]
    return [*replies.values(), *lost], gone


def _ask(client: "httpx.Client", model: str, question: str, expected: str, number: int) -> Reply:
    from helpers.doctor.live import gibberish

    body = SETTINGS | {"model": model, "messages": [{"role": "user", "content": question}]}
    try:
        reply = client.post("/chat/completions", json=body)
        if reply.status_code != 200:
            return Reply(question, number, "", False, f"HTTP {reply.status_code}")
        data = reply.json()
        choice, tokens = data["choices"][0], (data.get("usage") or {}).get("completion_tokens") or 0
        text = choice["message"]["content"] or ""
        noise = gibberish(text)
        fault = noise or ("" if text.strip() else "no answer")
        if not noise and choice.get("finish_reason") == "length":
            fault = "cut off"
        return Reply(question, number, text, not fault and right(text, expected), fault, bool(noise), tokens)
    except Exception as error:  # of the network, or a reply of another shape: counted, never raised
        return Reply(question, number, "", False, type(error).__name__)
