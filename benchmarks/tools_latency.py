"""What our tool servers add to a call, measured as vLLM meets them: over MCP and SSE, on loopback.

    python benchmarks/tools_latency.py [--sandbox auto] [--calls 100] [--conversations 50] [--out FILE.json]

Reports milliseconds: a call in a conversation whose interpreter is there, a first call that has to start the
sandbox, a browser search and open, opening the session itself, and 50 conversations at once.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

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


async def measure(python: str, browser: str, calls: int, conversations: int) -> dict:
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
        "conversations_at_once": {
            "conversations": conversations,
            "calls_each": 4,
            "wall_s": together,
            **summary(each),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--conversations", type=int, default=50)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    from helpers.tools import start

    with (
        tempfile.TemporaryDirectory() as folder,
        start(sandbox=arguments.sandbox, run_dir=Path(folder)) as servers,
    ):
        places = servers.argument.split(",")
        measured = asyncio.run(measure(*places, arguments.calls, arguments.conversations))
        record = {
            "what": "latency added by the cookbook's tool servers, milliseconds",
            "sandbox": servers.sandbox.partition(":")[0],
            "machine": {"cpus": os.cpu_count(), "arch": platform.machine(), "load_1m": os.getloadavg()[0]},
            "python": platform.python_version(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "aim_ms": AIM_MS,
            "met": {name: measured[name]["p50"] <= aim for name, aim in AIM_MS.items()},
            "measured": measured,
        }
    text = json.dumps(record, indent=1)
    print(text)
    if arguments.out:
        temporary = arguments.out.with_suffix(".new")
        temporary.write_text(text + "\n")
        os.replace(temporary, arguments.out)


if __name__ == "__main__":
    main()
