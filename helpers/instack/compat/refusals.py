"""What the middleware refuses: requests that would end the server, or hold it up for all others (docs/requests.md)."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from helpers.instack.compat.requests import COMPLETIONS, MESSAGES, RESPONSES

FEW, WIDE = 100, 1_000  # items of a list that vLLM alone may validate; parts of an item, or tools
SCORED = 2_000  # tokens of a prompt whose logprobs are asked for: each takes 1.5 MiB meanwhile (docs/requests.md)
RUN = 5_000  # characters of one kind in a row; Harmony takes the square of their number: 40 ms for twice as many
ONE_KIND = re.compile(r"[^\W\d_]+|\s+|(?:[^\w\s]|_)+")  # letters, spaces, signs: one piece of Harmony's each
HIDING = (b"logprobs", b"\\u", b"\0")  # in a body that is parsed whatever its size


def deadly(text: bytes, path: str) -> str:
    """Why a request is refused that would end the server, or hold it up for all; '' for any other (docs/requests.md).

    Its path may be any: /invocations and /tokenize read messages too. An escape or another encoding may hide a key.
    """
    try:
        reads = len(text) > RUN or any(mark in text for mark in HIDING) or text.count(b",") > FEW
        body = json.loads(text) if reads else {}
        echoed = body.get("echo") and (body.get("logprobs"), body.get("top_logprobs")) != (None, None)
        prompt = text if "messages" in body else body.get("prompt", body.get("token_ids", text))
        prompts = prompt if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else [prompt]
        every = [*prompts, body.get("token_ids")]  # /inference/v1/generate has its own names for both
        lengths = [len(one.encode() if isinstance(one, str) else one) for one in every if hasattr(one, "__len__")]
        places = [one for one in (body, body.get("sampling_params")) if isinstance(one, dict)]
        scored = echoed or any(one.get("prompt_logprobs") is not None for one in places)
        if scored and max(lengths, default=0) > SCORED:
            return f"logprobs of a prompt of more than {SCORED:,} tokens (text counts by its bytes): send ids, or a shorter one"
        items = body.get(name := "input" if path == RESPONSES else "messages")
        items = items if isinstance(items, list) else []
        parts = [value for item in items if isinstance(item, dict) for value in item.values()]
        if any(isinstance(one, list) and len(one) > WIDE for one in [body.get("tools"), *parts]):
            return f"more than {WIDE:,} tools, or parts of one item: send fewer"
        if path != COMPLETIONS and any(map(_endless, _strings(body))):
            return (
                f"a run of more than {RUN:,} letters, signs or spaces: break it, Harmony takes the square of its length"
            )
        if len(items) > FEW and not path.startswith(MESSAGES) and not path.endswith("/batch"):
            _first_odd(name).model_validate({"model": "", name: items})
    except ValueError as error:  # pydantic's, and json's, which vLLM refuses itself
        odd: list = getattr(error, "errors", lambda **_: [])(include_url=False, include_input=False)
        where = ".".join(str(part) for part in odd[0]["loc"][:2]) if odd else ""
        return f"{where} is of no known type" if where else ""
    except (ImportError, TypeError, AttributeError, RecursionError):  # outside a server, or of a form that vLLM refuses
        pass
    return ""


def _endless(text: str) -> bool:
    """Whether a run of one kind fills one of the windows that a text is cut into: every run twice as long does."""
    return any(ONE_KIND.fullmatch(text, at, at + RUN) for at in range(0, len(text) - RUN + 1, RUN))


def _strings(body: Any) -> Iterator[str]:
    """Every string of a body, however deep."""
    left = [body]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict | list):
            left.extend(one.values() if isinstance(one, dict) else one)


@cache
def _first_odd(name: str) -> Any:
    """vLLM's own request whose list ends at the first item that fits no type; it keeps some 230 errors for every one."""
    from pydantic import FailFast, create_model
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.responses.protocol import ResponsesRequest

    base: Any = ChatCompletionRequest if name == "messages" else ResponsesRequest
    annotation = base.model_fields[name].annotation
    items = next(one for one in (annotation, *get_args(annotation)) if get_origin(one) is list)
    field: Any = {name: (Annotated[items, FailFast()], ...)}
    return create_model("FirstOdd", __base__=base, **field)
