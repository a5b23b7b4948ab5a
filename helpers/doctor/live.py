"""Asks a running server the questions whose wrong answers leave no line in any log."""

import html
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from helpers import redact
from helpers.errors import UsageError
from helpers.keys import keyless

if TYPE_CHECKING:
    import httpx

EVAL_LENGTH = 131_072  # tokens that gpt_oss.evals asks for in every request (gpt_oss/evals/__main__.py, 0.0.9)
QUESTION = "What is 17 + 25? Answer with the number alone."
EXPECTED = "42"
CONCURRENT = 4  # requests at once; wrong kernels of F35 answer the first request rightly and later ones not
TOKENS = 512  # output tokens allowed for a probe: enough for a short answer with its reasoning
TIMEOUT = 120.0  # seconds for one request; a small model on a CPU needs several
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
MARKS = {True: "✓", False: "✗", None: "–"}


@dataclass(frozen=True)
class Probe:
    """One question and what the server made of it; `ok` is None when it could not be asked."""

    name: str
    ok: bool | None
    seen: str
    need: str
    signature: str = ""  # the entry of recipes/failures.yaml that explains a wrong answer
    fatal: bool = False  # the server is of no use while this fails


@dataclass(frozen=True, repr=False)
class Examination:
    """Every probe of one server."""

    url: str
    probes: list[Probe]

    @property
    def exit_code(self) -> int:
        """1 when a probe failed that makes the server useless, else 0."""
        return int(any(probe.ok is False and probe.fatal for probe in self.probes))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return redact.data({"url": self.url, "fatal": bool(self.exit_code), "probes": [asdict(p) for p in self.probes]})

    def text(self) -> str:
        """One line per probe, and where a wrong answer is explained."""
        out = [self.url]
        for probe in self.probes:
            out.append(f"  {MARKS[probe.ok]} {probe.name:<18} {probe.seen}")
            if probe.ok is False:
                out.append(f"    {'needed':<18} {probe.need}" + (f" [{probe.signature}]" if probe.signature else ""))
        return redact.text("\n".join(out))

    __str__ = __repr__ = text

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text())}</pre>"


def gibberish(text: str) -> str:
    """Why a text cannot be an answer (one character or word over and over, unprintable), or ''."""
    text = text.strip()
    if re.search(r"(\S)\1{9,}", text):
        return "one character over and over"
    if "\ufffd" in text or sum(not (c.isprintable() or c in "\n\t") for c in text) > len(text) / 20:
        return "unprintable characters"
    words = text.split()
    run = longest = 1
    for before, word in pairwise(words):
        run = run + 1 if word == before else 1
        longest = max(longest, run)
    if longest >= 8 or (len(words) >= 40 and len(set(words)) < len(words) / 12):
        return "the same words over and over"
    return ""


def judge_answer(choice: dict[str, Any], tokens: int) -> tuple[bool, str, str]:
    """(ok, what was seen, signature id) of one chat choice that `tokens` output tokens went into."""
    message = choice.get("message") or {}
    content, finish = message.get("content"), choice.get("finish_reason")
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    if not content:
        if finish == "length":
            return False, f"no content, {tokens} tokens of reasoning, stopped by the token limit", "F33"
        if not reasoning and tokens:
            return False, f"neither content nor reasoning from {tokens} tokens", "F34"
        return False, f"no content, finish_reason {finish}", "F34"
    if why := gibberish(content):
        return False, f"{why}: {content[:40]!r}", "F35"
    return True, f"{content.strip()[:40]!r}", ""


def _chat(client: "httpx.Client", model: str, **more: Any) -> dict[str, Any]:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": TOKENS,
        "temperature": 0,
        "reasoning_effort": "low",
    } | more
    reply = client.post("/v1/chat/completions", json=body)
    reply.raise_for_status()
    return reply.json()


def answers(client: "httpx.Client", model: str) -> list[Probe]:
    """The same question twice, then several times at once: right, readable, and not only at first."""

    def ask(_: int) -> tuple[bool, str, str]:
        reply = _chat(client, model)
        return judge_answer(reply["choices"][0], reply["usage"]["completion_tokens"])

    need = "a readable answer with the right number"
    alone = [ask(0), ask(1)]
    with ThreadPoolExecutor(CONCURRENT) as pool:
        together = list(pool.map(ask, range(CONCURRENT)))
    probes = []
    for name, found in (("answer, twice", alone), (f"answer, {CONCURRENT} at once", together)):
        bad = [item for item in found if not item[0]]
        seen = bad[0][1] if bad else ", ".join(sorted({item[1] for item in found}))
        fatal = any(item[2] in ("F34", "F35") for item in bad)
        probes.append(Probe(name, not bad, seen, need, bad[0][2] if bad else "", fatal))
    right = [EXPECTED in item[1] for item in alone + together if item[0]]
    if right:
        full_size = bool(re.search(r"gpt-oss-(?:20|120)b", model))
        ok = all(right) if full_size else (all(right) or None)  # a tiny model may not know the sum
        probes.append(Probe("right answer", ok, f"{sum(right)} of {len(right)}", f"{EXPECTED} each time", "F35"))
    return probes


def usage(client: "httpx.Client", model: str) -> list[Probe]:
    """Token counts of the Responses API, the field that carries reasoning, and whether answers are stored."""
    reply = client.post(
        "/v1/responses",
        json={
            "model": model,
            "input": QUESTION,
            "max_output_tokens": TOKENS,
            "reasoning": {"effort": "low"},
            "store": True,
        },
    )
    reply.raise_for_status()
    body = reply.json()
    counts = body.get("usage") or {}
    counted = bool(counts.get("input_tokens") and counts.get("output_tokens"))
    stored = client.get(f"/v1/responses/{body.get('id')}").status_code == 200
    chat = _chat(client, model)["choices"][0]["message"]
    field = "reasoning" if chat.get("reasoning") else "reasoning_content" if chat.get("reasoning_content") else ""
    return [
        Probe(
            "usage",
            counted,
            "input and output tokens counted" if counted else f"{counts}",
            "counts above zero (fixed after vLLM 0.10.1)",
        ),
        Probe(
            "stored answers",
            stored,
            "kept" if stored else "not kept: previous_response_id and background fail",
            "VLLM_ENABLE_RESPONSES_API_STORE=1, for demonstrations only",
            "F39",
        ),
        Probe(
            "reasoning field",
            {"reasoning": True, "": None}.get(field, False),
            field or "no reasoning in the reply",
            "clients that read `reasoning`",
            "F38",
        ),
    ]


def tool_calls(client: "httpx.Client", model: str) -> list[Probe]:
    """A function call that the server must surface, and the same call streamed."""
    ask = {
        "messages": [{"role": "user", "content": "What is the weather in Paris? Use the tool."}],
        "tools": [TOOL],
        "tool_choice": "required",
    }
    need = "--tool-call-parser openai --enable-auto-tool-choice"
    reply = client.post(
        "/v1/chat/completions",
        json={"model": model, "max_tokens": TOKENS, "temperature": 0, "reasoning_effort": "low"} | ask,
    )
    if reply.status_code == 400:
        return [Probe("tool calls", False, _message(reply), need, "F36")]
    reply.raise_for_status()
    choice = reply.json()["choices"][0]
    calls = choice["message"].get("tool_calls") or []
    if not calls:
        end = choice.get("finish_reason")
        if end == "length":
            return [Probe("tool calls", None, f"no call within {TOKENS} tokens: the model finished none", need)]
        lost = "the call stayed in the content" if "{" in (choice["message"].get("content") or "") else "no call"
        return [Probe("tool calls", False, f"{lost}, finish_reason {end}", need, "F36")]
    joined, finish = "", None
    body = {"model": model, "max_tokens": TOKENS, "temperature": 0, "stream": True, "reasoning_effort": "low"} | ask
    with client.stream("POST", "/v1/chat/completions", json=body) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: {"):
                for part in json.loads(line[6:]).get("choices", []):
                    finish = part.get("finish_reason") or finish
                    for call in part["delta"].get("tool_calls") or []:
                        joined += (call.get("function") or {}).get("arguments") or ""
    return [
        Probe("tool calls", True, calls[0]["function"]["name"], need, "F36"),
        Probe(
            "streamed tool call",
            _parses(joined),
            f"arguments {joined[:40]!r}, finish_reason {finish}",
            "arguments that are whole JSON",
            "F37",
        ),
    ]


def _parses(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _message(reply: "httpx.Response") -> str:
    try:
        return f"{reply.status_code}: {reply.json()['error']['message'][:120]}"
    except (ValueError, KeyError, TypeError):
        return f"{reply.status_code}: {reply.text[:120]}"


def examine(url: str, api_key: str = "", model: str = "", timeout: float = TIMEOUT) -> Examination:
    """Run every probe against the server at `url` (with or without /v1); `UsageError` when nothing answers there."""
    import httpx

    base = keyless(url).rstrip("/").removesuffix("/v1")
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        with httpx.Client(base_url=base, headers=headers, timeout=timeout) as client:
            listed = client.get("/v1/models", timeout=min(timeout, 10))
            if listed.status_code != 200:
                raise UsageError(
                    f"{base} does not list its models", why=_message(listed), do="check the address and VLLM_API_KEY"
                )
            cards = listed.json()["data"]
            return Examination(base, _probes(client, cards, model))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
        raise UsageError(
            f"no answer from {base}",
            why=f"{type(error).__name__}: {error}",
            do="start the server, or check the address",
        ) from error


def _probes(client: "httpx.Client", cards: list[dict[str, Any]], wanted: str) -> list[Probe]:
    import httpx

    names = [card["id"] for card in cards]
    model = wanted if wanted in names else names[0]
    length = next(card.get("max_model_len") for card in cards if card["id"] == model)
    probes = [Probe("model name", not wanted or wanted in names, ", ".join(names), wanted or "any", "S3", True)]
    if length:
        probes.append(
            Probe(
                "context for evals",
                length >= EVAL_LENGTH,
                f"max_model_len {length}",
                f"{EVAL_LENGTH} for gpt_oss.evals",
                "F25",
            )
        )
    groups: list[tuple[str, Callable[[httpx.Client, str], list[Probe]]]] = [
        ("answers", answers),
        ("responses", usage),
        ("tool calls", tool_calls),
    ]
    for name, group in groups:
        try:
            probes += group(client, model)
        except httpx.HTTPStatusError as error:
            probes.append(Probe(name, False, _message(error.response), "status 200", fatal=name == "answers"))
        except httpx.HTTPError as error:
            probes.append(Probe(name, False, f"{type(error).__name__}: {error}", "an answer", fatal=True))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            probes.append(
                Probe(
                    name,
                    False,
                    f"a reply of another shape ({type(error).__name__}: {error})",
                    "the OpenAI shape",
                    fatal=name == "answers",
                )
            )
    return probes
