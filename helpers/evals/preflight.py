"""What must hold before the first sample is asked: each of these would otherwise end in a score of 0.0."""

import html
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import CookbookError, UsageError
from helpers.evals.catalogue import Evaluation, check_rows, fetch
from helpers.evals.plan import Plan
from helpers.keys import keyless
from helpers.paths import shown

if TYPE_CHECKING:
    import httpx

# a server that answers nothing in this time is taken for dead; together a minute
NAMES_S, PROBE_S = 8.0, 50.0
QUESTION = "What is 2 + 2?"
PROMPT_ROOM = 1024  # tokens that a question may take of the context besides the answer


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
                raise CookbookError(
                    f"{what} is not started: {finding.name}", why=finding.seen, do=finding.fix
                )
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


def preflight(base_url: str, plan: Plan, offline: bool = False, report=print) -> Preflight:
    """Look at the data and the server. Fetches missing data here and never later; nothing is asked twice.

    `base_url` ends in /v1. The findings stop at the first one that makes the others pointless.
    """
    import httpx

    findings = [data(evaluation, plan, offline, report) for evaluation in plan.evaluations]
    with httpx.Client(base_url=base_url.rstrip("/"), headers=authorised(), timeout=PROBE_S) as client:
        try:
            served = client.get("/models", timeout=NAMES_S)
        except (httpx.HTTPError, OSError) as error:
            return Preflight([*findings, unreachable(base_url, error)])
        findings.append(name(served, plan.model))
        if findings[-1].ok:
            findings.append(context(served.json(), plan))
        if findings[-1].ok:
            findings.append(answer(client, plan))
        return Preflight(findings, version(client))


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


def data(evaluation: Evaluation, plan: Plan, offline: bool, report=print) -> Finding:
    """The evaluation's data: on this machine and whole, fetched now where they are not."""
    title, folder = f"data of {evaluation.name}", Path(plan.data).expanduser() if plan.data else None
    missing = [name for name in evaluation.files if name not in plan.files_of(evaluation)]
    by_hand = f"put {', '.join(evaluation.files)} into a folder and pass it as --data"
    if missing and (folder or offline):
        where = f"in {folder}" if folder else "here, and nothing may be fetched (--offline)"
        return Finding(title, False, f"{missing[0]} is not {where}", by_hand)
    try:
        if missing:
            fetch(evaluation, report)
        files = plan.files_of(evaluation)
        check_rows(evaluation, files)
    except CookbookError as error:
        return Finding(title, False, f"{error.what}: {error.why}", error.do or by_hand)
    return Finding(
        title, True, f"{evaluation.questions} questions, {shown(next(iter(files.values())).parent)}"
    )


def name(reply: "httpx.Response", model: str) -> Finding:
    """Whether the server serves the model under the name that the requests will use."""
    if reply.status_code != 200:
        fix = (
            "set VLLM_API_KEY to the server's key"
            if reply.status_code in (401, 403)
            else "see the server's log"
        )
        return Finding("model", False, f"/v1/models answers HTTP {reply.status_code}", fix)
    try:
        names = [entry["id"] for entry in reply.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return Finding("model", False, "/v1/models is not a list of models", "see the server's log")
    if model in names:
        return Finding("model", True, f"{model} is served")
    fix = f"pass --model {names[0]}, or serve with --served-model-name {model}" if names else ""
    return Finding("model", False, f"{model} is not served here, {', '.join(names) or 'nothing'} is", fix)


def context(models: dict, plan: Plan) -> Finding:
    """Whether the context holds the longest answer that will be asked for."""
    needed = max(plan.max_tokens_of(evaluation) for evaluation in plan.evaluations)
    entry = next(entry for entry in models["data"] if entry["id"] == plan.model)
    length = entry.get("max_model_len")
    if length is None:
        return Finding(
            "context",
            True,
            "the server does not tell its length; the request below shows whether it is enough",
        )
    if length < needed:
        return Finding(
            "context",
            False,
            f"the server's context is {length:,} tokens and every request asks for {needed:,}: each would be refused",
            f"serve with --max-model-len {needed}, or pass --max-tokens {max(1, length - PROMPT_ROOM)} "
            "(scores of long answers then are not comparable)",
        )
    return Finding("context", True, f"{length:,} tokens, {needed:,} needed")


def answer(client: "httpx.Client", plan: Plan) -> Finding:
    """One real request with the run's own settings, at low effort."""
    needed = max(plan.max_tokens_of(evaluation) for evaluation in plan.evaluations)
    if plan.sampler == "responses":
        path, body = (
            "/responses",
            {
                "input": [{"role": "user", "content": QUESTION}],
                "max_output_tokens": needed,
                "reasoning": {"effort": "low"},
            },
        )
    else:
        path, body = (
            "/chat/completions",
            {
                "messages": [{"role": "user", "content": QUESTION}],
                "max_tokens": needed,
                "reasoning_effort": "low",
            },
        )
    body |= {"model": plan.model, "temperature": plan.temperature_of(plan.evaluations[0])}
    return one_request(client, path, body)


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
    return Finding(
        "one request", True, f"answered with {count} tokens in {reply.elapsed.total_seconds():.1f} s"
    )


def version(client: "httpx.Client") -> str:
    """The server's vLLM as it says itself."""
    import httpx

    try:
        root = str(client.base_url).rstrip("/").removesuffix("/v1")
        return str(client.get(root + "/version").json()["version"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return "unknown"


def need_served(base_url: str) -> str:
    """The address with /v1 at its end; `UsageError` for what is no address, or carries a password."""
    keyless(base_url)
    if not base_url.startswith(("http://", "https://")):
        raise UsageError(f"{base_url!r} is no address", do="pass --base-url http://127.0.0.1:8000/v1")
    return base_url.rstrip("/") if base_url.rstrip("/").endswith("/v1") else base_url.rstrip("/") + "/v1"
