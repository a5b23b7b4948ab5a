"""The tool servers' life beside vLLM: started before it, checked, supervised like it, stopped after it."""

import asyncio
import re
import sys
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers import keys
from helpers.errors import CookbookError, UsageError
from helpers.paths import CACHE, shown
from helpers.recipes.command.tools import MCP_LABELS
from helpers.server import Server, free_port, launch
from helpers.tools.browser.backends import Exa, YouCom
from helpers.tools.sandbox import choose

HANDSHAKE_S = 10.0
READY_S = 120.0
# bm25s takes JAX where it finds it, and JAX takes three quarters of a GPU's memory, which vLLM then lacks.
NO_GPU = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "-1"}


@dataclass
class ToolServers:
    """Running tool servers by name, what contains the python tool, and how vLLM is told about them."""

    servers: dict[str, Server]
    sandbox: str = ""
    tools: dict[str, list[str]] = field(default_factory=dict)

    @property
    def argument(self) -> str:
        """The value of `vllm serve --tool-server`."""
        return ",".join(f"127.0.0.1:{server.lease.port}" for server in self.servers.values())

    @property
    def env(self) -> dict[str, str]:
        """What vLLM's environment needs beside the argument."""
        return dict(MCP_LABELS)

    def check(self) -> dict[str, list[str]]:
        """The tools by server; raises CookbookError naming the server that does not answer."""
        return check(self.argument)

    def stop(self) -> list[str]:
        """Stop those servers that nobody else uses; one line for each."""
        return [f"{name}: {server.stop()}" for name, server in self.servers.items()]

    def __enter__(self) -> "ToolServers":
        return self

    def __exit__(self, *_) -> None:
        self.stop()


def start(
    *,
    python: bool = True,
    browser: bool = True,
    sandbox: str = "auto",
    seconds: float | None = None,
    output_chars: int | None = None,
    data: Path | None = None,
    packages: Path | None = None,
    backend: str = "auto",
    corpus: Path | None = None,
    results: int | None = None,
    host: str = "127.0.0.1",
    allow_hosts: Sequence[str] = (),
    run_dir: Path | None = None,
    kept: bool = False,
    report=lambda line: None,
) -> ToolServers:
    """Start the tool servers on free ports, or attach to the ones started so before, and shake hands with each.

    They belong to this process and end with it, unless `kept`. `sandbox="dangerously-unsandboxed"` runs
    model-written code with this account's rights. A vLLM in a container reaches them under one of `allow_hosts`, where
    `host` is an address that the container sees. Raises CookbookError and leaves nothing running where one
    does not start.
    """
    logs = Path(run_dir or CACHE / "tools")
    started = ToolServers({})
    place = {"--host": host, "--allow-host": list(allow_hosts)}
    options = {"--seconds": seconds, "--output-chars": output_chars, "--data": data, "--packages": packages}
    plans = {}
    if python:
        chosen = choose(sandbox)
        started.sandbox = chosen.describe()
        report(f"python: {started.sandbox}")
        plans["python"] = {"--sandbox": chosen.rung.name, **options}
    if browser:
        service = next((kind for kind in (Exa, YouCom) if kind.name == backend), None)
        if service:  # its server has no terminal to ask at; without a key it says so itself
            keys.key(service.key_name, f"web search with {service.name}")
        plans["browser"] = {"--backend": backend, "--corpus": corpus, "--results": results}

    def begin(name: str) -> None:
        started.servers[name] = _launch(name, plans[name] | place, logs, kept)

    try:
        with ThreadPoolExecutor() as pool:  # each takes a second of imports
            list(pool.map(begin, plans))
        started.servers = {name: started.servers[name] for name in plans}  # in one order: vLLM's argument names them
        started.tools = started.check()
    except BaseException:
        started.stop()
        raise
    for name, tools in started.tools.items():
        report(f"{name}: 127.0.0.1:{started.servers[name].lease.port}, tools {', '.join(tools)}")
    return started


def _launch(name: str, settings: dict, logs: Path, kept: bool) -> Server:
    port = free_port()
    argv = [sys.executable, "-m", f"helpers.tools.{name}_server", "--port", str(port)]
    for option, given in settings.items():
        for value in given if isinstance(given, list) else [given]:
            if value is not None:
                argv += [option, str(value.resolve() if isinstance(value, Path) else value)]
    log = logs / f"{name}-tool.log"
    offset = log.stat().st_size if log.exists() else 0
    try:
        options: dict[str, Any] = {
            "target": "tools",
            "model": name,
            "report": lambda *_: None,
            "kept": kept,
            "timeout": READY_S,
        }
        return launch(argv, NO_GPU, port=port, log=log, **options)
    except CookbookError as error:
        said = log.read_bytes()[offset:].decode("utf-8", "replace").strip().splitlines() if log.exists() else []
        reason = next(
            (line for line in reversed(said) if line.startswith("cookbook: ")), said[-1] if said else error.why
        )
        raise CookbookError(
            f"the {name} tool server did not start", why=reason.removeprefix("cookbook: "), do=f"see {shown(log)}"
        ) from error


def check(argument: str, seconds: float = HANDSHAKE_S) -> dict[str, list[str]]:
    """Shake hands with every server of a `--tool-server` value, as vLLM will: its tools by server name.

    Raises CookbookError where one does not answer (vLLM would crash while starting) or has a name that vLLM
    would load and then ignore.
    """
    offered = {}
    for place in places_of(argument):
        try:
            name, tools = in_thread(_handshake(place, seconds))
        except Exception as error:
            cause = innermost(error)
            raise CookbookError(
                f"the tool server {place} does not answer",
                why=f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__,
                do="start it before vLLM, which ends while starting without it (`cookbook tools serve`)",
            ) from error
        if name not in ("python", "browser", "container"):
            raise CookbookError(
                f"the tool server {place} calls itself {name!r}",
                why="vLLM runs only servers named python, browser or container",
                do="rename the server",
            )
        offered[name] = tools
    return offered


def places_of(argument: str) -> list[str]:
    """The servers of a `--tool-server` value; raises UsageError where one is not HOST:PORT."""
    places = [place.strip() for place in argument.split(",")]
    for place in places:
        if not re.fullmatch(r"[\w.-]+:\d{1,5}|\[[\da-f:]+\]:\d{1,5}", keys.keyless(place), re.IGNORECASE):
            raise UsageError(f"{place!r} is no tool server", do="name it as HOST:PORT, several with commas")
    return places


async def _handshake(place: str, seconds: float) -> tuple[str, list[str]]:
    from mcp import ClientSession
    from mcp.client.sse import sse_client

    async with asyncio.timeout(seconds):
        async with sse_client(f"http://{place}/sse", timeout=seconds) as streams, ClientSession(*streams) as session:
            greeting = await session.initialize()
            listing = await session.list_tools()
            hidden = {"cleanup_session"}
            return greeting.server_info.name, [tool.name for tool in listing.tools if tool.name not in hidden]


def in_thread(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, also from within a notebook's running loop."""
    outcome: dict = {}

    def run() -> None:
        try:
            outcome["value"] = asyncio.run(coroutine)
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


def innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
