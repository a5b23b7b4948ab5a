"""The programs that people point at a server, and the requests of theirs that vLLM does not take.

`recipes/clients.yaml` holds the programs, `recipes/compatibility.yaml` the requests, with what vLLM alone does to each.
`python -m maintain.clients.catalogue` asks a server without the middleware which of its rules are no longer needed.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import yaml

from helpers.errors import CookbookError, UsageError
from helpers.findings import Finding
from helpers.paths import RECIPES, shown

if TYPE_CHECKING:
    import httpx

CLIENTS, NEEDS = RECIPES / "clients.yaml", RECIPES / "compatibility.yaml"
TOKENS = 200  # of an answer, unless the request says otherwise
LIMITS = {"/v1/responses": "max_output_tokens"}
PROMPT = {"return_token_ids": True, "enable_response_messages": True}  # vLLM's own: the prompt comes with the answer
OFF = {"x-compat": "off"}  # asks the middleware, where there is one, to change nothing
MIDDLEWARE = "--middleware helpers.instack.compat.Compatibility"


@dataclass(frozen=True)
class Program:
    """One program: what it speaks, the files and variables that point it at a server, what it needs, what does not work."""

    title: str
    package: str  # where it comes from, with the version that was tried; "not tried" where none was
    api: str
    files: dict[str, str] = field(default_factory=dict)  # path below the user's home -> text with $base_url and others
    env: dict[str, str] = field(default_factory=dict)
    run: str = ""
    context: int = 0  # tokens of its first request with these files, counted with oss-harmony; 0 where it was not
    needs: str = ""
    limits: str = ""

    @property
    def install(self) -> str:
        """The command that installs what was tried, "" where nothing was."""
        index, _, rest = self.package.partition(" ")
        packages = [word.strip().split()[:2] for word in rest.split(",")]
        pinned = ["@".join(pair) if index == "npm" else "==".join(pair) for pair in packages]
        return {"npm": "npm install --global ", "PyPI": "pip install "}[index] + " ".join(pinned)

    def filled(self, text: str, base_url: str, model: str, context: int) -> str:
        """A text of this program for one server."""
        return filled(text, base_url, model, context, self.context)


@dataclass(frozen=True)
class Need:
    """One request of a client, what vLLM alone makes of it, and what a rule of the middleware makes of it."""

    rule: str
    what: str
    clients: list[str]
    issue: str  # owner/repository#number, "" where none was found
    path: str
    body: dict[str, Any]
    alone: str  # stands in the answer, or in the prompt, where vLLM is left alone
    right: str
    instead: str  # the way around without the middleware
    look: str = "answer"  # or "prompt"
    before: dict[str, Any] | None = None  # the request whose id is this one's previous_response_id

    def seen(self, web: "httpx.Client", model: str, headers: dict[str, str] | None = None) -> str:
        """The answer as JSON, or the prompt that the request becomes; an error is an answer too."""
        limit = LIMITS.get(self.path, "max_tokens")
        fields = {"model": model, "temperature": 0, limit: TOKENS} | (PROMPT if self.look == "prompt" else {})
        body = fields | self.body
        if self.before:
            first = web.post(self.path, json=fields | self.before, headers=OFF).json()
            body["previous_response_id"] = first["id"]
        reply = web.post(self.path, json=body, headers=headers)
        if reply.status_code != 200 or self.look == "answer":
            return reply.text
        told = reply.json()
        if "input_messages" in told:
            return json.dumps(told["input_messages"], ensure_ascii=False)
        return web.post("/detokenize", json={"model": model, "tokens": told["prompt_token_ids"]}).json()["prompt"]

    def finding(self, web: "httpx.Client", model: str) -> Finding:
        """Whether the server does it right."""
        seen = self.seen(web, model)
        ok = self.right in seen
        told = "as it should" if ok else "refused" if '"error"' in seen[:10] else "accepted, and not as it should"
        fix = f"{self.instead}, or start vLLM with {MIDDLEWARE} ({self.issue or 'no upstream issue found'})"
        return Finding(self.what, ok, told, fix="" if ok else fix)


def programs() -> dict[str, Program]:
    """Every program by the name that `cookbook connect` takes."""
    return {name: Program(**row) for name, row in _read(CLIENTS)["clients"].items()}


def program(name: str) -> Program:
    """One program; raises `UsageError` for an unknown one."""
    known = programs()
    if name not in known:
        raise UsageError(f"there is no client {name!r}", do=f"use one of: {', '.join(known)}")
    return known[name]


def needs(client: str = "") -> list[Need]:
    """The requests of one client, or all."""
    rows = [Need(**row) for row in _read(NEEDS)["rules"]]
    return [row for row in rows if not client or client in row.clients]


def filled(text: str, base_url: str, model: str, context: int, first: int = 0) -> str:
    """A text for one server: its address, the served name, the longest request in tokens, and shares of it.

    `first` is the client's first request in tokens: where two of them do not fit, a history is not to be compacted, for it
    would be again and again.
    """
    sizes: dict[str, Any] = {"context": context, "compact": context * 3 // 4, "output": min(context // 4, 32_768)}
    sizes["compacts"] = "true" if 2 * first <= context else "false"
    return Template(text).substitute({"base_url": f"{base_url}/v1", "root_url": base_url, "model": model} | sizes)


def served(web: "httpx.Client") -> tuple[str, int]:
    """The first model that the server serves, and its longest request in tokens."""
    import httpx

    try:
        entry = web.get("/v1/models").raise_for_status().json()["data"][0]
        return entry["id"], int(entry["max_model_len"])
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, LookupError, TypeError) as error:
        raise CookbookError(
            f"{web.base_url} serves no model",
            why=f"{type(error).__name__}: {error}",
            do="start a server, or name its address with --base-url and its key in VLLM_API_KEY",
        ) from None


def findings(rows: Iterable[Need], web: "httpx.Client", model: str, client: Program, context: int) -> list[Finding]:
    """What a client will trip over at this server: the room for its first request, then each kind of request."""
    room = Finding(
        "context",
        2 * client.context <= context,
        f"{context:,} tokens, of which its first request takes {client.context:,}",
        fix=f"serve with a --max-model-len of {2 * client.context:,} or more",
        required=client.context >= context,
    )
    return [room] * bool(client.context) + [row.finding(web, model) for row in rows]


def probed(web: "httpx.Client", model: str) -> list[str]:
    """A line for each request: whether a server without the middleware still needs its rule."""
    lines = []
    for row in needs():
        seen = row.seen(web, model, OFF)
        state = "still needed" if row.alone in seen and row.right not in seen else "changed: look again"
        lines.append(f"{row.rule}: {row.what}: {'no longer needed' if row.right in seen else state} ({row.issue})")
    return lines


def _read(path: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CookbookError(f"{shown(path)} cannot be read", why=str(error), do="restore the file from git") from None


def main() -> None:
    import httpx

    from maintain.responses_support import asked

    with asked() as (surface, version), httpx.Client(base_url=surface.base, timeout=120) as web:
        print(f"vLLM {version}", *probed(web, surface.model), sep="\n")


if __name__ == "__main__":
    main()
