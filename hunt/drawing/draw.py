"""Requests drawn from the server's own OpenAPI description and from what users combine: the same seed draws the same ones."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers
from schemathesis import GenerationMode

from hunt.drawing.bodies import combined
from hunt.drawing.values import Strategy
from hunt.request import Request, expanded, plain

# Hypothesis takes constants out of the modules that are loaded, so that a seed would draw other requests in another process.
_NONE = providers.Constants(**{kind: providers.SortedSet() for kind in ("integers", "floats", "bytes", "strings")})
providers._get_local_constants = lambda: _NONE
SIZE = 100  # requests of a batch
TOKENS, CHOICES, REFUSED = (
    16,
    16,
    16_384,
)  # of one answer; vLLM refuses more choices than the last (VLLM_MAX_N_SEQUENCES)
LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
GENERATING = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
GETS = ("/health", "/metrics", "/v1/models", "/version", "/v1/responses/resp_x", "/v1/embeddings")
COMBINED = (
    *GENERATING,
    *GENERATING,
    *GENERATING[:2],
    "/v1/messages/count_tokens",
    "/tokenize",
    "/detokenize",
    "/v1/embeddings",
)
TOKENS_IN = "/inference/v1/generate"
SCALE_OUT = ("/v1/chat/completions/render", "/v1/completions/render", TOKENS_IN)  # with --enable-scale-out
DESCRIBED = (*GENERATING, "/tokenize", "/detokenize", "/v1/messages/count_tokens", *SCALE_OUT)
SPARED_TOKENS = 2_000  # characters, so tokens at most: the logprobs of 2,000 take 3 GiB of gpt-oss-nano's host
SPARED_ITEMS = 300  # their refusal takes 0.9 GiB and a second, ten times as many 4 GiB and half a minute
MODES = ("alone", "together", "cancelled")  # how a batch is sent, in turn


def bounded(request: Request, mode: str) -> Request:
    """The request with a short answer, unless it is cancelled anyway: 10,000 of them have to end."""
    if request.path == TOKENS_IN and isinstance(request.body, dict) and mode != "cancelled":
        given = request.body.get("sampling_params")
        if isinstance(given, dict):
            short = {"max_tokens": TOKENS, "n": min(n, CHOICES) if isinstance(n := given.get("n"), int) else 1}
            return Request(request.path, request.body | {"sampling_params": given | short}, request.method)
    if request.path not in GENERATING or not isinstance(request.body, dict) or "$bytes" in request.body:
        return request
    body = dict(request.body)
    if mode != "cancelled":
        for name in LENGTHS:
            value = body.get(name)
            if isinstance(value, int | float) and math.isfinite(value) and value > TOKENS:
                body[name] = TOKENS
        if all(body.get(name) is None for name in LENGTHS):
            body["max_output_tokens" if request.path == "/v1/responses" else "max_tokens"] = TOKENS
    n = body.get("n")
    if isinstance(n, int | float) and CHOICES < n <= REFUSED:
        body["n"] = CHOICES
    return Request(request.path, body, request.method)


@functools.lru_cache(maxsize=4)
def _schema(description: str) -> Any:
    import json

    return schemathesis.openapi.from_dict(json.loads(description))


def described(description: str, model: str) -> list[Strategy]:
    """Requests by the OpenAPI description (JSON): as it allows them, against it, and its parameters in a good request."""
    schema, found = _schema(description), []
    good = {
        "/v1/chat/completions": {"model": model, "messages": [{"role": "user", "content": "What is 2 + 2?"}]},
        "/v1/completions": {"model": model, "prompt": "What is 2 + 2?"},
        "/v1/responses": {"model": model, "input": "What is 2 + 2?"},
        "/v1/messages": {"model": model, "messages": [{"role": "user", "content": "What is 2 + 2?"}]},
        TOKENS_IN: {
            "model": model,
            "token_ids": [200006, 17360, 200008],
        },  # what the recipes' models begin a prompt with
    }
    for path in (path for path in DESCRIBED if path in schema.raw_schema["paths"]):
        operation = schema[path]["POST"]
        allowed = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        against = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        found += [allowed.map(functools.partial(_of, path)), against.map(functools.partial(_of, path))]
        if path in good:
            found.append(allowed.map(functools.partial(_grafted, path, good[path])))
    return found


def _of(path: str, case: Any) -> Request:
    """A drawn case as a request."""
    body = None if type(case.body).__name__ == "NotSet" else plain(case.body)
    return Request(path, body)


def _grafted(path: str, good: dict, case: Any) -> Request:
    """A good request with a drawn case's other parameters, those that it leaves empty aside."""
    body = plain(case.body) if isinstance(case.body, dict) else {}
    return Request(path, {name: value for name, value in body.items() if value is not None} | good)


def requests(description: str, model: str) -> Strategy:
    """One request of any kind: of ten, six are combined, three described and one reads."""
    own = combined(model)
    bodies = st.sampled_from(COMBINED).flatmap(lambda path: own[path].map(lambda body: Request(path, plain(body))))
    kinds = described(description, model)
    reads = st.builds(
        lambda path, method: Request(path, None, method), st.sampled_from(GETS), st.sampled_from(("GET", "POST"))
    )
    return st.integers(0, 9).flatmap(lambda n: bodies if n < 6 else st.one_of(kinds) if n < 9 and kinds else reads)


def run(strategy: Strategy, seed: int, look: Callable[[Request], None], shrink: bool = False) -> None:
    """Show `look` the drawn requests one after the other; with `shrink`, what makes it raise is made smaller."""
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=SIZE,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        deadline=None,
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=hypothesis.Verbosity.quiet,
    )
    @hypothesis.given(strategy)
    def seen(request: Request) -> None:
        look(request)

    seen()


def batch(strategy: Strategy, seed: int, number: int) -> list[Request]:
    """The requests of one batch, bounded for the way it is sent."""
    drawn: list[Request] = []
    run(strategy, seed_of(seed, number), drawn.append)
    return [bounded(request, mode_of(number)) for request in drawn]


def seed_of(seed: int, number: int) -> int:
    """What a batch is drawn from."""
    return seed * 100_003 + number


def mode_of(number: int) -> str:
    """How a batch is sent."""
    return MODES[number % len(MODES)]


def spared(request: Request) -> str:
    """The case of recipes/requests/ that a request is one of, and that nothing prevents; '' for any other."""
    return next(iter(_cases(request)), "")


def _cases(request: Request) -> Iterator[str]:
    body = expanded(request.body) if isinstance(request.body, dict) else {}
    asked = body.get("prompt_logprobs") is not None or (body.get("echo") and body.get("logprobs") is not None)
    if asked and len(str(body)) > SPARED_TOKENS:
        yield "prompt-logprobs"
    items = body.get("input")
    if request.path == "/v1/responses" and isinstance(items, list) and len(items) > SPARED_ITEMS:
        yield "unknown-input-items"
