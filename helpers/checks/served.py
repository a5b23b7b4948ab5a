"""Whether a server serves a model and answers one request: what everything that asks it many needs first."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers.findings import Finding, Findings

if TYPE_CHECKING:
    import httpx

# a server that answers nothing in this time is taken for dead; together a minute
NAMES_S, PROBE_S = 8.0, 50.0
QUESTION = "What is 2 + 2?"


@dataclass(frozen=True, repr=False)
class Preflight(Findings):
    """What was found of a server before anything long is asked; `version` is its vLLM."""

    version: str = "unknown"

    @property
    def refusal(self) -> str:
        return "the evaluation is not started"


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


def unreachable(base_url: str, error: Exception) -> Finding:
    """Nobody is there."""
    seen = f"{base_url} does not answer: {type(error).__name__}"
    return Finding("server", False, seen, fix="start the server, or correct the address")


def name(reply: "httpx.Response", model: str) -> Finding:
    """Whether the server serves the model under the name that the requests will use."""
    if reply.status_code != 200:
        fix = "set VLLM_API_KEY to the server's key" if reply.status_code in (401, 403) else "see the server's log"
        return Finding("model", False, f"/v1/models answers HTTP {reply.status_code}", fix=fix)
    try:
        names = [entry["id"] for entry in reply.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return Finding("model", False, "/v1/models is not a list of models", fix="see the server's log")
    if model in names:
        return Finding("model", True, f"{model} is served")
    fix = f"pass --model {names[0]}, or serve with --served-model-name {model}" if names else ""
    return Finding("model", False, f"{model} is not served here, {', '.join(names) or 'nothing'} is", fix=fix)


def one_request(client: "httpx.Client", path: str, body: dict) -> Finding:
    """Ask once, and see whether tokens come back."""
    import httpx

    try:
        reply = client.post(path, json=body, timeout=PROBE_S)
    except httpx.TimeoutException:
        return Finding("one request", False, f"no answer within {PROBE_S:.0f} s", fix="see the server's log")
    except (httpx.HTTPError, OSError) as error:
        return Finding("one request", False, f"{type(error).__name__}: {error}"[:200], fix="see the server's log")
    if reply.status_code != 200:
        said = " ".join(reply.text.split())[:200]
        return Finding("one request", False, f"HTTP {reply.status_code}: {said}", fix="see the server's log")
    try:
        tokens = reply.json()["usage"]
        count = tokens.get("output_tokens") or tokens.get("completion_tokens") or 0
    except (ValueError, KeyError, TypeError, AttributeError):
        return Finding("one request", False, "the reply is not of the OpenAI API", fix="check the address")
    if not count:
        return Finding("one request", False, "it was answered with no token at all", fix="see the server's log")
    return Finding("one request", True, f"answered with {count} tokens in {reply.elapsed.total_seconds():.1f} s")
