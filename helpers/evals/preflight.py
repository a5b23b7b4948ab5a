"""What must hold before the first sample is asked: each of these would otherwise end in a score of 0.0."""

from pathlib import Path
from typing import TYPE_CHECKING

from helpers.checks.served import NAMES_S, PROBE_S, QUESTION, Preflight, name, one_request, unreachable
from helpers.errors import CookbookError, UsageError
from helpers.evals.catalogue import Evaluation, check_rows, fetch
from helpers.evals.plan import Plan
from helpers.findings import Finding
from helpers.keys import authorised, keyless
from helpers.paths import shown

if TYPE_CHECKING:
    import httpx

PROMPT_ROOM = 1024  # tokens that a question may take of the context besides the answer


def preflight(base_url: str, plan: Plan, offline: bool = False) -> Preflight:
    """Look at the data and the server. Fetches missing data here and never later; nothing is asked twice.

    `base_url` ends in /v1. The findings stop at the first one that makes the others pointless.
    """
    import httpx

    findings = [data(evaluation, plan, offline) for evaluation in plan.evaluations]
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


def data(evaluation: Evaluation, plan: Plan, offline: bool) -> Finding:
    """The evaluation's data: on this machine and whole, fetched now where they are not."""
    title, folder = f"data of {evaluation.name}", Path(plan.data).expanduser() if plan.data else None
    missing = [name for name in evaluation.files if name not in plan.files_of(evaluation)]
    by_hand = f"put {', '.join(evaluation.files)} into a folder and pass it as --data"
    if missing and (folder or offline):
        where = f"in {folder}" if folder else "here, and nothing may be fetched (--offline)"
        return Finding(title, False, f"{missing[0]} is not {where}", fix=by_hand)
    try:
        if missing:
            fetch(evaluation)
        files = plan.files_of(evaluation)
        check_rows(evaluation, files)
    except CookbookError as error:
        return Finding(title, False, f"{error.what}: {error.why}", fix=error.do or by_hand)
    return Finding(title, True, f"{evaluation.questions} questions, {shown(next(iter(files.values())).parent)}")


def context(models: dict, plan: Plan) -> Finding:
    """Whether the context holds the longest answer that will be asked for."""
    needed = max(plan.max_tokens_of(evaluation) for evaluation in plan.evaluations)
    entry = next(entry for entry in models["data"] if entry["id"] == plan.model)
    length = entry.get("max_model_len")
    if length is None:
        return Finding(
            "context", True, "the server does not tell its length; the request below shows whether it is enough"
        )
    if length < needed:
        return Finding(
            "context",
            False,
            f"the server's context is {length:,} tokens and every request asks for {needed:,}: each would be refused",
            fix=f"serve with --max-model-len {needed}, or pass --max-tokens {max(1, length - PROMPT_ROOM)} "
            "(scores of long answers then are not comparable)",
        )
    return Finding("context", True, f"{length:,} tokens, {needed:,} needed")


def answer(client: "httpx.Client", plan: Plan) -> Finding:
    """One real request with the run's own settings, at low effort."""
    needed = max(plan.max_tokens_of(evaluation) for evaluation in plan.evaluations)
    message = [{"role": "user", "content": QUESTION}]
    if plan.sampler == "responses":
        path, asked = "/responses", {"input": message, "max_output_tokens": needed, "reasoning": {"effort": "low"}}
    else:
        path, asked = "/chat/completions", {"messages": message, "max_tokens": needed, "reasoning_effort": "low"}
    settings = {"model": plan.model, "temperature": plan.temperature_of(plan.evaluations[0])}
    return one_request(client, path, asked | settings)


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
    return base_url.rstrip("/").removesuffix("/v1") + "/v1"
