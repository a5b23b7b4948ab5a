"""MCP tools of the user's own: vLLM runs only servers named python, browser and container, so these are called here.

`MCPTools("http://127.0.0.1:9000/sse")` lists a server's tools as function schemas and calls them for the model; it
takes a `Toolbox`'s place in `converse`.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from helpers.errors import CookbookError
from helpers.server import free_port
from helpers.tools.functions import MAX_RESULT_CHARS
from helpers.tools.servers import in_thread, innermost
from helpers.tools.text import harmless, shorten

SECONDS = 60.0


class MCPTools:
    """The tools of one MCP server over SSE, as functions that the model may call."""

    def __init__(self, url: str, allowed: list[str] | None = None, headers: dict[str, str] | None = None):
        self.url, self.headers = url, headers
        listing = self._with(lambda session: session.list_tools())
        self._tools = {tool.name: tool for tool in listing.tools if allowed is None or tool.name in allowed}

    def schemas(self) -> list[dict]:
        """The `tools` of a chat completion."""
        return [{"type": "function", "function": self._schema(tool)} for tool in self._tools.values()]

    def response_schemas(self) -> list[dict]:
        """The `tools` of a Responses request."""
        return [{"type": "function"} | self._schema(tool) for tool in self._tools.values()]

    def call(self, name: str, arguments: str) -> str:
        """Call a tool with the model's JSON arguments. Whatever goes wrong becomes text for the model."""
        if name not in self._tools:
            return f"Error: there is no tool {name!r}; there are: {', '.join(self._tools)}."
        try:
            values = json.loads(arguments or "{}")
            if not isinstance(values, dict):
                raise ValueError("they are no object")
        except ValueError as error:
            return f"Error: bad arguments for {name}: {error}."
        try:
            result = self._with(lambda session: session.call_tool(name, values))
        except CookbookError as error:
            return f"Error: {name} failed: {error.why}"
        parts = [part.text for part in result.content if getattr(part, "text", None) is not None]
        return shorten(harmless("\n".join(parts)), MAX_RESULT_CHARS) or "[no output]"

    @staticmethod
    def _schema(tool: Any) -> dict:
        return {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema}

    def _with(self, use: Callable) -> Any:
        async def run() -> Any:
            import asyncio

            from mcp import ClientSession
            from mcp.client.sse import sse_client

            async with (
                asyncio.timeout(SECONDS),
                sse_client(self.url, headers=self.headers) as streams,
                ClientSession(*streams) as session,
            ):
                await session.initialize()
                return await use(session)

        try:
            return in_thread(run())
        except Exception as error:
            cause = innermost(error)
            raise CookbookError(
                f"the MCP server at {self.url} failed", why=f"{type(cause).__name__}: {cause}", do="is it running?"
            ) from error


@contextmanager
def serving(*functions: Callable) -> Iterator[str]:
    """An MCP server over SSE on loopback with these typed functions as its tools, while the block runs; its address."""
    import uvicorn
    from mcp.server import MCPServer

    server = MCPServer("own", log_level="ERROR")
    for function in functions:
        server.add_tool(function)
    host, port = "127.0.0.1", free_port()
    app = server.sse_app()
    runner = uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    try:
        while not runner.started:
            if not thread.is_alive():
                raise CookbookError("the MCP server did not start", why=f"port {port} was taken", do="try again")
            time.sleep(0.02)
        yield f"http://{host}:{port}/sse"
    finally:
        runner.should_exit = True
        thread.join(5)
