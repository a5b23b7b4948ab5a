"""The requests that do harm, one file each in recipes/requests/, and the page made of them: `python -m hunt.cases`."""

import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.result import RECORDS, Result
from helpers.files import write_whole
from helpers.paths import RECIPES, ROOT, shown
from hunt.request import Request

FOLDER, PAGE = RECIPES / "requests", ROOT / "docs" / "requests.md"
ON_CPU = ("request_hunt_bare", "request_hunt_guarded", "request_hunt_scale_out")  # records with sentences of their own
KINDS = {  # kind -> heading, what it means
    "kill": ("Requests that end a server", "The engine or the API server ends, and every other conversation with it."),
    "hang": ("Requests that hold a server up", "The server goes on, and nobody else is answered meanwhile."),
    "error": ("Answers with status 500", "The server goes on; the request was wrong, or asked for what cannot be."),
    "schema": ("Answers unlike the API's description", "A client that trusts the description stumbles over them."),
    "silent": ("Requests half ignored", "The answer has status 200 and lacks what was asked for."),
}


FRONT = """## Before you put a server in front of others

1. Serve with the cookbook's middleware, and let the server come back:

       .venv/bin/cookbook serve TARGET --middleware -p restart on-failure

   The middleware answers with status 400 what the table below leaves to it, and [helps clients](clients.md) besides. A server
   that ends by itself is started anew, three times an hour at most, and `.venv/bin/cookbook status` says why it ended. With
   `--replicas 2` a router sends requests to the other one meanwhile.
2. With a command of your own, put `PYTHONPATH=/path/to/this/folder` before it and
   `--middleware helpers.instack.compat.Compatibility` behind it. In a container, mount this folder and set PYTHONPATH to the
   mount (not run here). The compose and Kubernetes forms restart a server too.
3. Limit a body's size in your proxy (nginx: `client_max_body_size`, 1 MB unless you raise it). vLLM has no limit.
4. Send hostile requests yourself before anyone else does: `make fuzz ARGS="--guarded"` on a machine like yours, or
   `make fuzz ARGS="--base-url http://HOST:PORT --model NAME"` against your server.
5. Give replicas a key: with `VLLM_API_KEY` set, the cookbook's router asks for it on every path. Let your proxy pass the paths
   that your clients use and no other. vllm-router 0.1.17 passes every path on, and whoever has the key, or reaches a router
   without one, can take a replica out (`POST /remove_worker?url=`) and add one of their own (`/add_worker`). Servers with
   `--enable-scale-out` end any request whose id is sent to `/inference/v1/abort_requests`.

## What is known""".splitlines()


class Sent(BaseModel):
    """The request of a case, as `hunt.request.Request` keeps it; `times` of it at once."""

    model_config = ConfigDict(extra="forbid")

    path: str
    body: Any = None
    method: str = "POST"
    times: int = 1

    def request(self) -> Request:
        return Request(self.path, self.body, self.method)


class Case(BaseModel):
    """One request that does harm, and what is done about it."""

    model_config = ConfigDict(extra="forbid")

    title: str
    kind: Literal["kill", "hang", "error", "schema", "silent"]
    send: list[Sent] = Field(min_length=1)
    backend: str  # that it was seen on
    applies: str  # where else
    vllm: str  # the versions that it was seen on
    seen: str
    cause: str
    prevents: str  # a flag, a limit, or that nothing does
    prevented: bool  # by the recipes, without any doing of the reader
    guarded: bool = False  # refused, or mended, by the cookbook's middleware
    upstream: str  # an issue, or the text of one
    status: int = 0  # what such a request is answered with; 0 where nobody is sure of an answer
    verified: Literal["run", "source"]  # executed by us, or read in vLLM's source


def cases(folder: Path = FOLDER) -> dict[str, Case]:
    """name -> case, the worst kinds first."""
    found = {path.stem: Case(**yaml.safe_load(path.read_text())) for path in sorted(folder.glob("*.yaml"))}
    return dict(sorted(found.items(), key=lambda item: list(KINDS).index(item[1].kind)))


def page(found: dict[str, Case]) -> str:
    """The text of docs/requests.md."""
    lines = [
        "# Requests that end a server",
        "",
        "Which requests end a vLLM server that serves gpt-oss, or do it other harm, and what prevents it. Written by",
        f"`python -m hunt.cases` from the files in `{shown(FOLDER)}/`. `make fuzz` hunts for more with 10,000 requests;",
        "`make test-all` sends up to 800 drawn ones in four minutes, with a fixed seed, `make test` a hundred of the nastiest.",
        'In a request, `{"$repeat": [x, n]}` stands for n times x.',
        "",
        hunted(),
        "",
        *FRONT,
        "",
        "| request | harm | where | prevented |",
        "| --- | --- | --- | --- |",
    ]
    for name, case in found.items():
        yes = "by the recipes" if case.prevented else "by the middleware" if case.guarded else "no"
        lines.append(f"| [{case.title}](#{name}) | {case.kind} | {case.applies} | {yes} |")
    for kind, (heading, meaning) in KINDS.items():
        own = {name: case for name, case in found.items() if case.kind == kind}
        lines += ["", f"## {heading}", "", meaning if own else f"{meaning} None is known."]
        for name, case in own.items():
            lines += ["", f'<a id="{name}"></a>', "", f"### {case.title}", "", *_section(case)]
    return "\n".join(lines) + "\n"


def hunted(folder: Path = RECORDS) -> str:
    """What has been hunted on so far, from the records."""
    found = list(map(_record, sorted(folder.glob("request_hunt.json"))))
    told = [
        f"The last hunt sent {_value(one, 'requests'):,.0f} requests to gpt-oss-nano with the CPU recipe's flags (vLLM "
        f"{one.versions['vllm']}, {one.finished:%Y-%m-%d}; `benchmarks/records/request_hunt.json`): "
        f"{_value(one, 'kills'):.0f} of them ended the server. "
        f"{_value(one, 'left out as known and not prevented'):.0f} more were drawn and left out: kills that no flag "
        "prevents. "
        for one in found
    ]
    told += [
        f"With the middleware in front, {_value(one, 'requests'):,.0f} requests of every kind, those among them, ended "
        f"{_value(one, 'kills'):.0f} servers ({one.finished:%Y-%m-%d}; `benchmarks/records/request_hunt_guarded.json`). "
        for one in map(_record, sorted(folder.glob("request_hunt_guarded.json")))
    ]
    told += [
        f"To a server with `--enable-scale-out`, its own paths among them, {_value(one, 'requests'):,.0f} requests went: "
        f"{_value(one, 'kills'):.0f} of them ended it ({one.finished:%Y-%m-%d}; "
        "`benchmarks/records/request_hunt_scale_out.json`). "
        for one in map(_record, sorted(folder.glob("request_hunt_scale_out.json")))
    ]
    others = [path for path in sorted(folder.glob("request_hunt_*.json")) if path.stem not in ON_CPU]
    told += [_elsewhere(path.stem, _record(path)) for path in others]
    return "".join(told) + ("" if others else "No GPU has been hunted on yet.")


def _elsewhere(name: str, record: Result) -> str:
    """A hunt on another machine's server, in one sentence."""
    where = record.machine.gpus[0] if record.machine.gpus else record.machine.cpu
    served = record.question.removeprefix("Does any request end the server of ").rstrip("?")
    return (
        f"On {where}, {_value(record, 'requests'):,.0f} requests went to {served}: {_value(record, 'kills'):.0f} of them ended "
        f"the server, and {_value(record, 'left out as known and not prevented'):.0f} more were left out as kills that no flag "
        f"prevents (vLLM {record.versions['vllm']}, {record.finished:%Y-%m-%d}; `benchmarks/records/{name}.json`). "
    )


def _record(path: Path) -> Result:
    return Result.model_validate_json(path.read_text())


def _value(record: Result, name: str) -> float:
    return next(value.value for value in record.values if value.name == name)


def _section(case: Case) -> list[str]:
    lines = ["```http"]
    for sent in case.send:
        lines.append(f"{sent.method} {sent.path}" + (f"   ({sent.times} at once)" if sent.times > 1 else ""))
        lines += [json.dumps(sent.body)] if sent.body is not None else []
    lines += ["```", ""]
    how = {"run": "executed here", "source": "read in vLLM's source, not executed here"}[case.verified]
    rows = {
        "seen": case.seen,
        "why": case.cause,
        "what prevents it": case.prevents,
        "where": f"{case.applies}; {how} on {case.backend}, vLLM {case.vllm}",
        "upstream": case.upstream,
    }
    return [*lines, *(f"- **{name}**: {' '.join(text.split())}" for name, text in rows.items())]


if __name__ == "__main__":
    write_whole(PAGE, page(cases()))
