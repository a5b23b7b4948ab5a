"""One conversation's browser: its pages by cursor, and the three calls that gpt-oss makes."""

from helpers.tools.browser.page import BrowserError, Page, matches, results, show
from helpers.tools.text import harmless

MAX_PAGES = 200
MAX_RESULTS = 20
CONTEXT_LINES = 3  # shown before the relevant passage


class BrowserSession:
    """Pages in the order of their cursors. `backend` answers `search(query, count)` and `fetch(url)`."""

    def __init__(self, backend, most: int = MAX_RESULTS):
        self.backend, self.most = backend, most
        self.pages: list[Page] = []

    def page(self, cursor: int = -1) -> Page:
        """The page at `cursor`; the latest for -1."""
        if not self.pages:
            raise BrowserError("No page is open yet: search first, or open a full address.")
        if cursor == -1:
            return self.pages[-1]
        if not 0 <= cursor < len(self.pages):
            raise BrowserError(f"Invalid cursor {cursor}: pages 0 to {len(self.pages) - 1} are open.")
        return self.pages[cursor]

    def add(self, page: Page, first: int = 0, count: int = -1) -> str:
        """Make `page` the latest one and display it; a display that fails adds nothing."""
        if len(self.pages) >= MAX_PAGES:
            raise BrowserError(f"This conversation has opened {MAX_PAGES} pages, which is the limit.")
        text = show(page, len(self.pages), first, count)
        self.pages.append(page)
        return harmless(text)

    async def search(self, query: str, topn: int = 10) -> str:
        """Results for `query`, as a new page."""
        if not query.strip():
            raise BrowserError("The query is empty.")
        hits = await self.backend.search(query, max(1, min(topn, self.most)))
        return self.add(results(query, hits))

    async def open(self, id: int | str = -1, cursor: int = -1, loc: int = -1, num_lines: int = -1) -> str:
        """Follow link `id` of the page at `cursor`, open an address, or (id -1) move within the page."""
        if isinstance(id, str):
            page, line = await self.backend.fetch(id), 0
        elif id >= 0:
            here = self.page(cursor)
            if id >= len(here.links):
                raise BrowserError(f"Invalid link {id}: the page has {len(here.links)} links.")
            url, line = here.links[id]
            page = self.known(url) or await self.backend.fetch(url)
            line = -1 - line if line < 0 else max(0, page.line_of(line) - CONTEXT_LINES)
        else:
            page, line = self.page(cursor), 0
        return self.add(page, line if loc < 0 else loc, num_lines)

    async def find(self, pattern: str, cursor: int = -1) -> str:
        """Where `pattern` occurs on the page at `cursor`, as a new page."""
        if not pattern:
            raise BrowserError("The pattern is empty.")
        page = self.page(cursor)
        if page.url.startswith("web-search:") or page.url.endswith("#find"):
            raise BrowserError("`find` works on an opened page, not on a list of results: open one first.")
        return self.add(matches(page, pattern))

    def known(self, url: str) -> Page | None:
        """The page of that address where this conversation has it already."""
        return next((page for page in reversed(self.pages) if page.url == url), None)
