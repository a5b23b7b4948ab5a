"""What both tool servers share: MCP over SSE on loopback, one text answer to every call, state by conversation.

vLLM reads `result.content[0].text` of whatever comes back and waits for it without a limit of its own, so every
call, wrong or right, is answered with exactly one text within a bound.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import json
import logging
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from helpers.errors import UsageError
from helpers.tools.text import harmless, shorten

log = logging.getLogger("helpers.tools")

HOST = "127.0.0.1"
CONVERSATION = "x-conversation-id"  # the caller's own: keeps state across requests until it is idle
SESSION = "x-session-id"  # what vLLM sends: one request to /v1/responses
CLEANUP = "cleanup_session"  # what vLLM calls when such a request is over
MAX_ARGUMENT_CHARS = 1_000_000
MAX_ANSWER_CHARS = 64_000


class ToolError(Exception):
    """What the model is told in place of an answer."""


@dataclass(frozen=True)
class ServedTool:
    """One tool: its name, text and JSON schema as MCP lists them, and the coroutine that answers a call."""

    name: str
    description: str
    schema: dict
    answer: Callable[[str, dict], Awaitable[str]]  # (conversation, arguments) -> text
    in_prompt: bool = True

    @property
    def meta(self) -> dict | None:
        """How vLLM is told to keep it out of the prompt."""
        return None if self.in_prompt else {"include_in_prompt": False}


@dataclass(frozen=True)
class Service:
    """A tool server: its MCP name (`python` or `browser` for vLLM), instructions, tools and their bound in seconds."""

    name: str
    instructions: str
    tools: list[ServedTool]
    close: Callable[[str], Awaitable[None]]  # one conversation is over
    close_all: Callable[[], Awaitable[None]]
    seconds: float
    ready: Callable[[], Awaitable[None]] | None = None
    opened: Callable[[str], None] = lambda key: None  # a client holds this conversation open
    closed: Callable[[str], None] = lambda key: None


def place_arguments(parser: argparse.ArgumentParser) -> None:
    """Where a tool server listens, and the names by which it may be reached."""
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--host", default=HOST, help="the address to listen on; 0.0.0.0 inside a container")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name that requests may use, repeatable"
    )
    parser.add_argument("--parent", type=int, default=0, help="end when this process ends")


def allowed_hosts(host: str, names: Sequence[str]) -> list[str]:
    """The names, each sound; `UsageError` for one that is none, and for an open address without any.

    A page in a browser can send requests to this machine under a name of its own (DNS rebinding): a server that runs
    code answers only to names that somebody gave it.
    """
    for name in names:
        if not re.fullmatch(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?", name, re.IGNORECASE):
            raise UsageError(f"{name!r} is no host name", do="pass the name in vLLM's --tool-server, as tools-python")
    if not names and not ipaddress.ip_address(host).is_loopback:
        why = "requests from outside carry a name, and none is allowed"
        raise UsageError(f"a tool server on {host} would answer nobody", why=why, do="add --allow-host NAME")
    return list(names)


def application(service: Service, names: Sequence[str] = ()):
    """The Starlette application with the two SSE routes, reachable as this machine and under `names`."""
    from mcp.server.sse import SseServerTransport
    from mcp.server.transport_security import TransportSecuritySettings
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute, Mount, Route

    hosts = [f"{name}:*" for name in ("127.0.0.1", "localhost", "[::1]")]
    hosts += [form for name in names for form in ((name,) if ":" in name else (name, f"{name}:*"))]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True, allowed_hosts=hosts, allowed_origins=[f"http://{name}" for name in hosts]
    )
    transport = SseServerTransport("/messages/", security_settings=security)

    async def connect(request: Request) -> Response:
        lasting = request.headers.get(CONVERSATION, "")[:200]
        key = (
            f"conversation {lasting}" if lasting else f"session {request.headers.get(SESSION) or secrets.token_hex(8)}"
        )
        server = _server(service, key, bool(lasting))
        service.opened(key)
        try:
            async with transport.connect_sse(request.scope, request.receive, request._send) as streams:
                await server.run(streams[0], streams[1], server.create_initialization_options())
        except ValueError:
            pass  # a foreign Host or Origin: answered already
        finally:
            service.closed(key)
            if not lasting:
                await asyncio.shield(service.close(key))
        return Response()

    @contextlib.asynccontextmanager
    async def life(app):
        if service.ready:
            await service.ready()
        yield
        await service.close_all()

    async def health(request: Request) -> Response:
        return Response(service.name)

    routes: list[BaseRoute] = [Route("/sse", endpoint=connect), Route("/health", endpoint=health)]
    routes.append(Mount("/messages/", app=transport.handle_post_message))
    return Starlette(routes=routes, lifespan=life)


def _server(service: Service, key: str, lasting: bool):
    """The MCP side of one connection: its calls belong to conversation `key`."""
    import mcp_types as types
    from mcp.server.lowlevel import Server

    tools = {tool.name: tool for tool in service.tools}

    async def cleanup(conversation: str, arguments: dict) -> str:
        if not lasting:
            await service.close(conversation)
        return "done"

    hidden = ServedTool(
        CLEANUP, "Ends this session's state.", {"type": "object", "properties": {}}, cleanup, in_prompt=False
    )
    tools[CLEANUP] = hidden
    listed = [
        types.Tool(name=tool.name, description=tool.description, input_schema=tool.schema, _meta=tool.meta)
        for tool in tools.values()
    ]

    async def list_tools(context, params) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def call_tool(context, params) -> types.CallToolResult:
        text, failed = await answer(service, tools, key, params.name, params.arguments or {})
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=failed)

    return Server(service.name, instructions=service.instructions, on_list_tools=list_tools, on_call_tool=call_tool)


async def answer(
    service: Service, tools: dict[str, ServedTool], key: str, name: str, arguments: dict
) -> tuple[str, bool]:
    """One call answered: (text, whether it failed). Never raises but for cancellation."""
    started = time.monotonic()
    failed = True
    try:
        tool = tools.get(name)
        if tool is None:
            offered = ", ".join(sorted(set(tools) - {CLEANUP}))
            raise ToolError(f"There is no tool `{name[:100]}` here; there are: {offered}.")
        if len(json.dumps(arguments)) > MAX_ARGUMENT_CHARS:
            raise ToolError("The arguments are too long.")
        async with asyncio.timeout(service.seconds):
            text = await tool.answer(key, check(arguments, tool.schema))
        failed = False
    except ToolError as error:
        text = f"Error: {error}"
    except TimeoutError:
        text = f"Error: the call took longer than {service.seconds:g} s and was stopped."
    except Exception as error:
        log.exception("%s.%s failed", service.name, name)
        text = f"Error: the tool failed ({type(error).__name__})."
    log.info(
        "%s.%s %s %.3f s, %d characters",
        service.name,
        name[:40],
        "failed" if failed else "ok",
        time.monotonic() - started,
        len(text),
    )
    return shorten(harmless(text), MAX_ANSWER_CHARS) or "[no output]", failed


def check(arguments: dict, schema: dict) -> dict:
    """The arguments that the schema knows, numbers made whole; raises ToolError for one missing or ill-typed."""
    known, values = schema["properties"], {}
    for name in schema.get("required", []):
        if arguments.get(name) is None:
            raise ToolError(f"The argument `{name}` is missing.")
    for name, value in arguments.items():
        if name not in known or value is None:
            continue  # models invent arguments; an unknown one does no harm
        types = known[name]["type"]
        types = types if isinstance(types, list) else [types]
        values[name] = _typed(name, value, types)
    return values


def _typed(name: str, value, types: list[str]):
    if isinstance(value, bool) and "boolean" in types:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and "number" in types:
        with contextlib.suppress(ValueError, OverflowError):
            return int(value)
    if isinstance(value, str):
        if "number" in types and value.strip().lstrip("-").isdigit():
            return int(value)
        if "string" in types:
            return value
        if "boolean" in types and value.lower() in ("true", "false"):
            return value.lower() == "true"
    raise ToolError(f"The argument `{name}` must be a {' or a '.join(types)}.")


def serve(build: Callable[[], Awaitable[Service]], place: argparse.Namespace) -> None:
    """Serve at a place (`place_arguments`) until told to stop: SIGTERM, or the end of its `parent` process.

    Prints one JSON line once it listens.
    """
    import uvicorn

    names, parent = allowed_hosts(place.host, place.allow_host), place.parent
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each answer waits 40 ms for an ACK
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((place.host, place.port))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("mcp").setLevel(logging.WARNING)
    if parent:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()

    async def run() -> None:
        service = await build()  # inside the loop that its state will live in
        config = uvicorn.Config(
            application(service, names),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=2,
            lifespan="on",
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        if server.started:
            print(json.dumps({"name": service.name, "port": listener.getsockname()[1]}), flush=True)
        await task

    asyncio.run(run())


def _follow(parent: int) -> None:
    """End this process, in order, when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
    os._exit(1)
