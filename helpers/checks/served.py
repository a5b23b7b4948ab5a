"""Whether a server serves a model and answers one request: what everything that asks it many needs first."""

import html
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from helpers.errors import CookbookError

if TYPE_CHECKING:
    import httpx


# a server that answers nothing in this time is taken for dead; together a minute
NAMES_S, PROBE_S = 8.0, 50.0


QUESTION = "What is 2 + 2?"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether it holds, what was seen, and the fix."""

    name: str
    ok: bool
    seen: str
    fix: str = ""


@dataclass(frozen=True)
class Preflight:
    """Every finding; `version` is the server's vLLM, `seconds` the time of the one request."""

    findings: list[Finding] = field(default_factory=list)
    version: str = "unknown"

    @property
    def passed(self) -> bool:
        return all(finding.ok for finding in self.findings)

    def raise_if_failed(self, what: str = "the evaluation") -> "Preflight":
        """Return it, or raise with the first thing that does not hold."""
        for finding in self.findings:
            if not finding.ok:
                raise CookbookError(f"{what} is not started: {finding.name}", why=finding.seen, do=finding.fix)
        return self

    def text(self) -> str:
        lines = []
        for finding in self.findings:
            lines.append(f"{'✓' if finding.ok else '✗'} {finding.name:<16} {finding.seen}")
            if not finding.ok and finding.fix:
                lines.append(f"  {'do':<16} {finding.fix}")
        return "\n".join(lines)

    __str__ = __repr__ = text

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text())}</pre>"


def ready(client: "httpx.Client", model: str, body: dict) -> Preflight:
    """Whether the server serves `model` and answers one chat request with the settings of `body`."""
    import httpx

    try:
        served = client.get("/models", timeout=NAMES_S)
    except (httpx.HTTPError, OSError) as error:
        return Preflight([unreachable(str(client.base_url).rstrip("/"), error)])
    found = name(served, model)
    body = body | {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
    return Preflight([found, one_request(client, "/chat/completions", body)] if found.ok else [found])


def authorised() -> dict[str, str]:
    """The header with the key of the server, where one is set."""
    key = os.environ.get("VLLM_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def unreachable(base_url: str, error: Exception) -> Finding:
    """Nobody is there."""
    seen = f"{base_url} does not answer: {type(error).__name__}"
    return Finding("server", False, seen, "start the server, or correct the address")


def name(reply: "httpx.Response", model: str) -> Finding:
    """Whether the server serves the model under the name that the requests will use."""
    if reply.status_code != 200:
        fix = "set VLLM_API_KEY to the server's key" if reply.status_code in (401, 403) else "see the server's log"
        return Finding("model", False, f"/v1/models answers HTTP {reply.status_code}", fix)
    try:
        names = [entry["id"] for entry in reply.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return Finding("model", False, "/v1/models is not a list of models", "see the server's log")
    if model in names:
        return Finding("model", True, f"{model} is served")
    fix = f"pass --model {names[0]}, or serve with --served-model-name {model}" if names else ""
    return Finding("model", False, f"{model} is not served here, {', '.join(names) or 'nothing'} is", fix)


def one_request(client: "httpx.Client", path: str, body: dict) -> Finding:
    """Ask once, and see whether tokens come back."""
    import httpx

    try:
        reply = client.post(path, json=body, timeout=PROBE_S)
    except httpx.TimeoutException:
        return Finding("one request", False, f"no answer within {PROBE_S:.0f} s", "see the server's log")
    except (httpx.HTTPError, OSError) as error:
        return Finding("one request", False, f"{type(error).__name__}: {error}"[:200], "see the server's log")
    if reply.status_code != 200:
        said = " ".join(reply.text.split())[:200]
        return Finding("one request", False, f"HTTP {reply.status_code}: {said}", "see the server's log")
    try:
        tokens = reply.json()["usage"]
        count = tokens.get("output_tokens") or tokens.get("completion_tokens") or 0
    except (ValueError, KeyError, TypeError, AttributeError):
        return Finding("one request", False, "the reply is not of the OpenAI API", "check the address")
    if not count:
        return Finding("one request", False, "it was answered with no token at all", "see the server's log")
    return Finding("one request", True, f"answered with {count} tokens in {reply.elapsed.total_seconds():.1f} s")
