"""What our tool servers add to a call, measured as vLLM meets them: over MCP and SSE, on loopback.

Reports medians in milliseconds: a call in a conversation whose interpreter is there, a first call that has to start the
sandbox, a browser search and open, opening the session itself, and 50 conversations at once.
"""

import asyncio
import platform
import statistics
import time
from collections.abc import Sequence
from importlib.metadata import version

from benchmarks.result import Result, Value, result_of

SANDBOXES = ("bubblewrap", "wasm")

AIM_MS = {"python_warm": 20.0, "python_first": 150.0, "browser_search": 20.0, "browser_open": 20.0}


def summary(seconds: list[float]) -> dict:
    """Count, median, 90th and 99th percentile and maximum, in milliseconds."""
    ordered = sorted(1000 * value for value in seconds)
    cuts = statistics.quantiles(ordered, n=100, method="inclusive")
    return {"count": len(ordered), "p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": ordered[-1]}


class Session:
    """One MCP session, timed from the first byte."""

    def __init__(self, place: str, name: str):
        self.place, self.name = place, name

    async def __aenter__(self):
        from contextlib import AsyncExitStack

        from mcp import ClientSession
        from mcp.client.sse import sse_client

        began = time.perf_counter()
        self.stack = AsyncExitStack()
        streams = await self.stack.enter_async_context(
            sse_client(f"http://{self.place}/sse", headers={"x-session-id": self.name})
        )
        self.session = await self.stack.enter_async_context(ClientSession(*streams))
        await self.session.initialize()
        self.opened = time.perf_counter() - began
        return self

    async def __aexit__(self, *_):
        await self.stack.aclose()

    async def call(self, tool: str, **arguments) -> tuple[float, str]:
        """(seconds, text) of one call; raises where the tool answers with an error."""
        began = time.perf_counter()
        result = await self.session.call_tool(tool, arguments)
        took = time.perf_counter() - began
        if result.is_error:
            raise RuntimeError(result.content[0].text)
        return took, result.content[0].text


async def timed(python: str, browser: str, calls: int, conversations: int) -> dict:
    """All the measurements, one after the other."""
    opened, warm, first, search, opening = [], [], [], [], []
    async with Session(python, "warm") as session:
        await session.call("python", code="n = 0")
        for number in range(calls):
            took, text = await session.call("python", code=f"n = n + 1\nn + {number}")
            assert text == str(2 * number + 1), text
            warm.append(took)
    for number in range(max(10, calls // 5)):
        async with Session(python, f"first-{number}") as session:
            opened.append(session.opened)
            took, text = await session.call("python", code="6 * 7")
            assert text == "42", text
            first.append(took)
    async with Session(browser, "pages") as session:
        for _ in range(min(calls, 90)):
            search.append((await session.call("search", query="throughput of gpt-oss on vLLM"))[0])
            opening.append((await session.call("open", id=0))[0])

    async def conversation(number: int) -> float:
        began = time.perf_counter()
        async with Session(python, f"many-{number}") as session:
            await session.call("python", code=f"mine = {number}")
            for _ in range(3):
                assert (await session.call("python", code="mine"))[1] == str(number)
        return time.perf_counter() - began

    began = time.perf_counter()
    each = await asyncio.gather(*(conversation(number) for number in range(conversations)))
    together = time.perf_counter() - began
    return {
        "session_open": summary(opened),
        "python_warm": summary(warm),
        "python_first": summary(first),
        "browser_search": summary(search),
        "browser_open": summary(opening),
        "conversations_at_once": {"conversations": conversations, "calls_each": 4, "wall_s": together, **summary(each)},
    }


def values_of(sandbox: str, measured: dict) -> list[Value]:
    """The figures of one sandbox's servers, medians in ms, with the aims as bars."""
    named = {
        "python_warm": "python, a call in a running conversation",
        "python_first": "python, a first call: starts the sandbox",
        "session_open": "opening an MCP session",
    }
    if sandbox == "bubblewrap":  # the browser does not depend on the sandbox: one row is enough
        named |= {"browser_search": "browser, a search", "browser_open": "browser, opening a result"}
    rows = [
        Value(name=text, value=measured[key]["p50"], unit="ms", bar=AIM_MS.get(key), detail=sandbox)
        for key, text in named.items()
    ]
    many = measured["conversations_at_once"]
    text = f"{many['conversations']} conversations at once, {many['calls_each']} calls each, until the last is through"
    return [*rows, Value(name=text, value=many["wall_s"], unit="s", detail=sandbox)]


def measure(sandboxes: Sequence[str] = SANDBOXES, calls: int = 100, conversations: int = 50) -> Result:
    """The tool servers on each of the sandboxes, one after the other."""
    from helpers.runs.folder import kept_on_failure
    from helpers.tools import start

    values = []
    for sandbox in sandboxes:
        with kept_on_failure("bench-tools") as folder, start(sandbox=sandbox, run_dir=folder) as servers:
            measured = asyncio.run(timed(*servers.argument.split(","), calls, conversations))
        values += values_of(sandbox, measured)
    versions = {"python": platform.python_version(), "mcp": version("mcp")}
    return result_of("tools_latency", "What do the tool servers add to a call?", values, versions)
