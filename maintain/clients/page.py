"""docs/clients.md: from a running server to a working agent. `python -m maintain.clients.page` writes it from the data."""

from pathlib import Path

from helpers.files import write_whole
from helpers.paths import ROOT, shown
from maintain.clients import cases, structured, turns
from maintain.clients.catalogue import MIDDLEWARE, Need, needs, programs
from maintain.clients.support import load_support

PAGE = ROOT / "docs" / "clients.md"
EXAMPLE = ("http://127.0.0.1:8000", "gpt-oss-20b", 131_072)
TEXT = """# Agents and other clients

You have a server. Point your agent at it. Written from `recipes/clients.yaml`, `recipes/compatibility.yaml` and three
tables made by asking a real vLLM with gpt-oss-nano; [tests/clients](../tests/clients/test_clients.py) runs the
programs themselves.

1. Start the server with the middleware: put `PYTHONPATH=/path/to/this/checkout` before any command of this cookbook
   and `{middleware}` behind it. It needs nothing but Python's standard
   library. Leave both out if your client needs none of [the rules](#what-vllm-alone-does-not-take).
2. Ask for your client's configuration: `cookbook connect codex` prints it for the server that runs here or listens on
   port 8000, `--write ~` writes the files and stops before one of yours. `--base-url http://HOST:PORT` names another
   server.
3. See what it will trip over: `cookbook connect codex --check` sends the client's own kinds of requests. Exit code 1
   where it would.

## The clients

{clients}

## Their configurations

For a server on `{address}` that serves `{model}` with {context:,} tokens. `cookbook connect` fills in yours.

{configurations}

## Codex CLI and your tools

Codex sends the tools of each MCP server as a *namespace*, which vLLM refuses for gpt-oss. The middleware shows them
as functions and gives the namespace back with each call. Add two lines for each server in `config.toml`, where no
person sits before the screen:

```toml
[mcp_servers.weather]
command = "python"
args = ["weather.py"]
required = true                          # else a turn begins without a server that is slow to start
default_tools_approval_mode = "approve"  # else no call is made without a person's consent
```

## What vLLM alone does not take

Each rule has the request that needs it, seen without the rule and with it. Without the middleware, take the way
around. The answer to a changed request says so in its header `x-compat`; send the header `x-compat: off` to be let
through untouched. All other requests pass as the same bytes, but for those that would [end the server](requests.md), which get
status 400 whatever the header says. `.venv/bin/python -m maintain.clients.catalogue` asks your vLLM which rules it still needs.

{rules}

## What was reported, and what comes of it

Requests that public reports name, each sent to vLLM alone and with the middleware, streamed and not. *Right* is what the
report asks for. Where neither is right, it is for vLLM or the client to mend, and the way around is yours.

{cases}

## A JSON schema beside other wishes

On both endpoints, each streamed and not; *n-gram* rows come from a server that speculates with n-grams. *Ignored* is
the dangerous one: no error, and no effect.

{schemas}

## Conversations of several turns on `/v1/responses`

What of earlier turns reaches the prompt.

{turns}
"""


def configurations() -> list[str]:
    """Each client's files and variables, for the example's server."""
    lines = []
    for program in programs().values():
        blocks = []
        for path, text in program.files.items():
            kind = path.rpartition(".")[2].replace("py", "python")
            blocks.append(f"`~/{path}`:\n\n```{kind}\n{program.filled(text, *EXAMPLE).rstrip()}\n```")
        shell = [f"export {name}={program.filled(value, *EXAMPLE)}" for name, value in program.env.items()]
        shell = [program.install, *shell, *filter(None, [program.filled(program.run, *EXAMPLE)])]
        blocks.append("```bash\n" + "\n".join(shell) + "\n```")
        lines += [f"### {program.title}", *blocks]
    return lines


def rule(need: Need) -> str:
    """One row of the rules."""
    repository, _, number = need.issue.partition("#")
    link = f"[{need.issue}](https://github.com/{repository}/issues/{number})" if number else "none found"
    cells = (need.rule, need.what, f"`{need.path}`", need.instead, link)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page() -> str:
    """The whole page."""
    clients = ["| client | speaks | tried | needs | does not work |", "|---|---|---|---|---|"]
    for name, one in programs().items():
        clients.append(f"| `{name}`: {one.title} | `{one.api}` | {one.package} | {one.needs} | {one.limits} |")
    rules = ["| rule | for | endpoint | way around | upstream |", "|---|---|---|---|---|", *map(rule, needs())]
    return TEXT.format(
        middleware=MIDDLEWARE,
        address=EXAMPLE[0],
        model=EXAMPLE[1],
        context=EXAMPLE[2],
        clients="\n".join(clients),
        configurations="\n\n".join(configurations()),
        rules="\n".join(rules),
        cases="\n".join(cases.table()),
        schemas="\n".join(load_support(structured.FILE).markdown("a JSON schema on ...")),
        turns="\n".join(load_support(turns.FILE).markdown("several turns")),
    )


def write(path: Path = PAGE) -> Path:
    """Write the page whole or not at all."""
    return write_whole(path, page())


if __name__ == "__main__":
    print(shown(write()))
