"""The `browser` tool over MCP: `python -m helpers.tools.browser_server --port 0`."""

import argparse
import sys
from pathlib import Path

from helpers.errors import CookbookError
from helpers.tools import mcp_app
from helpers.tools.browser.backends import choose
from helpers.tools.browser.page import BrowserError
from helpers.tools.browser.session import MAX_RESULTS, BrowserSession
from helpers.tools.conversations import Conversations
from helpers.tools.text import browser_instructions, browser_schemas

SECONDS = 60.0  # for one call; the web backends stop themselves well before
MOST = 512  # conversations with pages open


def service(backend, results: int) -> mcp_app.Service:
    """The MCP service: search, open and find with the schemas that gpt-oss was trained on."""

    async def make() -> BrowserSession:
        return BrowserSession(backend, results)

    async def end(session: BrowserSession) -> None:
        session.pages.clear()

    conversations = Conversations(make, end, most=MOST)

    def answers(name: str):
        async def answer(conversation: str, arguments: dict) -> str:
            arguments = {key: value for key, value in arguments.items() if key not in ("source", "view_source")}
            async with conversations.turn(conversation) as session:
                try:
                    return await getattr(session, name)(**arguments)
                except BrowserError as error:
                    raise mcp_app.ToolError(str(error)) from error

        return answer

    return mcp_app.Service(
        name="browser",
        instructions=browser_instructions(),
        tools=[
            mcp_app.ServedTool(name, description, schema, answers(name))
            for name, (description, schema) in browser_schemas().items()
        ],
        close=conversations.close,
        close_all=conversations.close_all,
        seconds=SECONDS,
        opened=conversations.opened,
        closed=conversations.closed,
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    mcp_app.place_arguments(parser)
    parser.add_argument("--backend", default="auto", help="auto, corpus, exa or youcom")
    parser.add_argument("--corpus", type=Path, help="a folder of pages in place of the cookbook's own")
    parser.add_argument("--results", type=int, default=MAX_RESULTS, help="of one search, at most")
    arguments = parser.parse_args(argv)
    try:
        backend = choose(arguments.backend, arguments.corpus)
        mcp_app.allowed_hosts(arguments.host, arguments.allow_host)
    except CookbookError as error:
        sys.exit(f"cookbook: {error.line()}")
    print(f"backend: {backend.describe()}", file=sys.stderr, flush=True)

    async def build() -> mcp_app.Service:
        return service(backend, arguments.results)

    mcp_app.serve(build, arguments)


if __name__ == "__main__":
    main()
