"""The `python` tool over MCP: `python -m helpers.tools.python_server --port 0`."""

import argparse
import asyncio
import contextlib
import sys
from pathlib import Path

from helpers.errors import CookbookError
from helpers.tools import mcp_app
from helpers.tools.conversations import Busy, Conversations
from helpers.tools.sandbox import Chosen, Limits, choose
from helpers.tools.sandbox.interpreter import Interpreter
from helpers.tools.sandbox.watch import Watch
from helpers.tools.text import python_instructions

SCHEMA = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
MOST = 64  # resident interpreters; about 10 MiB each
WASM_BYTES = 200 << 20  # of one resident WASM interpreter at rest (150 MiB measured, and some use)


class Interpreters:
    """The resident interpreters of all conversations on one rung."""

    def __init__(self, chosen: Chosen, limits: Limits, data: Path | None, packages: Path | None):
        self.rung, self.limits, self.data, self.packages = chosen.rung, limits, data, packages
        self.watch = Watch()
        self.conversations = Conversations(
            self._make,
            lambda interpreter: interpreter.end(),
            lambda interpreter: not interpreter.alive,
            most=places(self.rung.name),
        )
        self._spare: asyncio.Task | None = None

    async def run(self, conversation: str, code: str) -> str:
        """One cell of one conversation."""
        try:
            async with self.conversations.turn(conversation) as interpreter:
                outcome = await interpreter.run(code)
            text = outcome.text
            mcp_app.log.info("the program (%s) took %.3f s", outcome.status, outcome.seconds)
            if conversation in self.conversations.lost:
                self.conversations.lost.discard(conversation)
                return f"[This is a fresh interpreter: the earlier one was ended to save room.]\n{text}"
            return text
        except Busy:
            raise mcp_app.ToolError("all interpreters are in use; try again later") from None
        except CookbookError as error:
            raise mcp_app.ToolError(error.line()) from error

    async def warm(self) -> None:
        """Have one interpreter ready where starting takes seconds; elsewhere prove that one starts at all."""
        if self.rung.slow_start:
            self._spare = asyncio.create_task(self._start())
        else:
            await (await self._start()).end()

    async def close(self, conversation: str) -> None:
        await self.conversations.close(conversation)

    async def close_all(self) -> None:
        if self._spare:
            with contextlib.suppress(CookbookError):
                await (await self._spare).end()
        await self.conversations.close_all()

    async def _start(self) -> Interpreter:
        launch = self.rung.launch(self.limits, self.data, self.packages)
        return await Interpreter(launch, self.limits, self.watch).start()

    async def _make(self) -> Interpreter:
        spare, self._spare = self._spare, None
        if self.rung.slow_start:
            self._spare = asyncio.create_task(self._start())
        if spare:
            interpreter = await spare
            if interpreter.alive:
                return interpreter
        return await self._start()


def places(rung: str) -> int:
    """How many interpreters may be resident: half of the free memory's worth where they are large."""
    if rung != "wasm":
        return MOST
    import psutil

    return max(4, min(MOST, psutil.virtual_memory().available // 2 // WASM_BYTES))


def service(interpreters: Interpreters) -> mcp_app.Service:
    """The MCP service: one tool, kept out of the prompt (gpt-oss sends raw code to `python`)."""

    async def run(conversation: str, arguments: dict) -> str:
        return await interpreters.run(conversation, arguments["code"])

    limits = interpreters.limits
    return mcp_app.Service(
        name="python",
        instructions=python_instructions(data=interpreters.data is not None),
        tools=[
            mcp_app.ServedTool(
                "python", "Runs Python code in this conversation's sandbox.", SCHEMA, run, in_prompt=False
            )
        ],
        close=interpreters.close,
        close_all=interpreters.close_all,
        seconds=limits.seconds + limits.grace_s + limits.start_s + 130,
        ready=interpreters.warm,
        opened=interpreters.conversations.opened,
        closed=interpreters.conversations.closed,
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    mcp_app.place_arguments(parser)
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("--seconds", type=float, default=Limits.seconds, help="for one call")
    parser.add_argument("--memory-mib", type=int, default=Limits.memory_bytes >> 20)
    parser.add_argument("--output-chars", type=int, default=Limits.output_chars)
    parser.add_argument("--data", type=Path, help="a folder that programs may read, at /data")
    parser.add_argument("--packages", type=Path, help="a folder of installed packages that programs may import")
    arguments = parser.parse_args(argv)
    limits = Limits(
        seconds=arguments.seconds, memory_bytes=arguments.memory_mib << 20, output_chars=arguments.output_chars
    )
    try:
        for folder in (arguments.data, arguments.packages):
            if folder and not folder.is_dir():
                raise CookbookError(f"{folder} is no folder")
        chosen = choose(arguments.sandbox)
        mcp_app.allowed_hosts(arguments.host, arguments.allow_host)
    except CookbookError as error:
        sys.exit(f"cookbook: {error.line()}")
    print(f"sandbox: {chosen.describe()}", file=sys.stderr, flush=True)

    async def build() -> mcp_app.Service:
        return service(Interpreters(chosen, limits, arguments.data, arguments.packages))

    mcp_app.serve(build, arguments)


if __name__ == "__main__":
    main()
