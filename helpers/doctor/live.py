"""Asks a running server the questions whose wrong answers leave no line in any log."""

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from helpers import redact
from helpers.errors import UsageError
from helpers.findings import Finding, Findings
from helpers.keys import keyless

if TYPE_CHECKING:
    import httpx

EVAL_LENGTH = 131_072  # tokens that gpt_oss.evals asks for in every request (gpt_oss/evals/__main__.py, 0.0.9)
QUESTION = "What is 17 + 25? Answer with the number alone."
EXPECTED = "42"
CONCURRENT = 4  # requests at once; wrong kernels of F35 answer the first request rightly and later ones not
TOKENS = 512  # output tokens allowed for a probe: enough for a short answer with its reasoning
SETTINGS = {"max_tokens": TOKENS, "temperature": 0, "reasoning_effort": "low"}
TIMEOUT = 120.0  # seconds for one request; a small model on a CPU needs several
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@dataclass(frozen=True)
class Probe(Finding):
    """One question and what the server made of it; `ok` is None when it could not be asked."""

    signature: str = ""  # the entry of recipes/failures/ that explains a wrong answer
    fatal: bool = False  # the server is of no use while this fails


def _probe(name: str, ok: bool | None, seen: str, needed: str, signature: str = "", fatal: bool = False) -> Probe:
    fix = f"{signature} in recipes/failures/ explains it" if signature else ""
    return Probe(name, ok, seen, needed, fix, signature=signature, fatal=fatal)


@dataclass(frozen=True, repr=False)
class Examination(Findings):
    """Every probe of one server."""

    findings: Sequence[Probe]
    url: str

    @property
    def title(self) -> str:
        return self.url

    @property
    def exit_code(self) -> int:
        """1 when a probe failed that makes the server useless, else 0."""
        return int(any(probe.ok is False and probe.fatal for probe in self.findings))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        probes = [asdict(probe) for probe in self.findings]
        return redact.data({"url": self.url, "fatal": bool(self.exit_code), "probes": probes})


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


def _chat(client: "httpx.Client", model: str) -> dict[str, Any]:
    body = SETTINGS | {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
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
        probes.append(_probe(name, not bad, seen, need, bad[0][2] if bad else "", fatal))
    right = [EXPECTED in item[1] for item in alone + together if item[0]]
    if right:
        full_size = bool(re.search(r"gpt-oss-(?:20|120)b", model))
        ok = all(right) if full_size else (all(right) or None)  # a tiny model may not know the sum
        probes.append(_probe("right answer", ok, f"{sum(right)} of {len(right)}", f"{EXPECTED} each time", "F35"))
    return probes


def usage(client: "httpx.Client", model: str) -> list[Probe]:
    """Token counts of the Responses API, the field that carries reasoning, and whether answers are stored."""
    ask = {"model": model, "input": QUESTION, "max_output_tokens": TOKENS, "reasoning": {"effort": "low"}}
    reply = client.post("/v1/responses", json=ask | {"store": True})
    reply.raise_for_status()
    body = reply.json()
    counts = body.get("usage") or {}
    counted = bool(counts.get("input_tokens") and counts.get("output_tokens"))
    stored = client.get(f"/v1/responses/{body.get('id')}").status_code == 200
    chat = _chat(client, model)["choices"][0]["message"]
    field = next((name for name in ("reasoning", "reasoning_content") if chat.get(name)), "")
    kept = "kept" if stored else "not kept: previous_response_id and background fail"
    store = "VLLM_ENABLE_RESPONSES_API_STORE=1, for demonstrations only"
    named = {"reasoning": True, "": None}.get(field, False)
    count = "input and output tokens counted" if counted else f"{counts}"
    return [
        _probe("usage", counted, count, "counts above zero (fixed after vLLM 0.10.1)"),
        _probe("stored answers", stored, kept, store, "F39"),
        _probe("reasoning field", named, field or "no reasoning in the reply", "clients that read `reasoning`", "F38"),
    ]


def tool_calls(client: "httpx.Client", model: str) -> list[Probe]:
    """A function call that the server must surface, and the same call streamed."""
    question = {"role": "user", "content": "What is the weather in Paris? Use the tool."}
    body = SETTINGS | {"model": model, "messages": [question], "tools": [TOOL], "tool_choice": "required"}
    needed = "--tool-call-parser openai --enable-auto-tool-choice"
    reply = client.post("/v1/chat/completions", json=body)
    if reply.status_code == 400:
        return [_probe("tool calls", False, _message(reply), needed, "F36")]
    reply.raise_for_status()
    choice = reply.json()["choices"][0]
    calls, finish = choice["message"].get("tool_calls") or [], choice.get("finish_reason")
    if not calls:
        if finish == "length":
            return [_probe("tool calls", None, f"no call within {TOKENS} tokens: the model finished none", needed)]
        lost = "the call stayed in the content" if "{" in (choice["message"].get("content") or "") else "no call"
        return [_probe("tool calls", False, f"{lost}, finish_reason {finish}", needed, "F36")]
    joined, finish = "", None
    with client.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: {"):
                for part in json.loads(line[6:]).get("choices", []):
                    finish = part.get("finish_reason") or finish
                    for call in part["delta"].get("tool_calls") or []:
                        joined += (call.get("function") or {}).get("arguments") or ""
    seen, whole = f"arguments {joined[:40]!r}, finish_reason {finish}", "arguments that are whole JSON"
    return [
        _probe("tool calls", True, calls[0]["function"]["name"], needed, "F36"),
        _probe("streamed tool call", _parses(joined), seen, whole, "F37"),
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
            if not cards:
                raise UsageError(f"{base} serves no model", do="start a server with a model, or check the address")
            return Examination(_probes(client, cards, model), base)
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
    probes = [_probe("model name", not wanted or wanted in names, ", ".join(names), wanted or "any", "S3", True)]
    if length:
        needed = f"{EVAL_LENGTH} for gpt_oss.evals"
        probes.append(_probe("context for evals", length >= EVAL_LENGTH, f"max_model_len {length}", needed, "F25"))
    for name, group in {"answers": answers, "responses": usage, "tool calls": tool_calls}.items():
        try:
            probes += group(client, model)
        except httpx.HTTPStatusError as error:
            probes.append(_probe(name, False, _message(error.response), "status 200", fatal=name == "answers"))
        except httpx.HTTPError as error:
            probes.append(_probe(name, False, f"{type(error).__name__}: {error}", "an answer", fatal=True))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            seen = f"a reply of another shape ({type(error).__name__}: {error})"
            probes.append(_probe(name, False, seen, "the OpenAI shape", fatal=name == "answers"))
    return probes
