"""Where search results and pages come from: the local corpus, or Exa or You.com where their key is set.

Keys are read from the environment here and nowhere else; they travel in request headers only.
"""

import os
from pathlib import Path

from helpers.errors import CookbookError, UsageError
from helpers.tools.browser.corpus import Corpus, embedded
from helpers.tools.browser.fetch import fetch, resolve, target
from helpers.tools.browser.html import page as html_page
from helpers.tools.browser.page import BrowserError, Hit, Page

TIMEOUT_S = 30.0


class Web:
    """A search service and the open web behind it. `call` and `fetcher` are the effects, for tests."""

    name = "web"
    key_name = ""

    def __init__(self, key: str, call=None, fetcher=fetch):
        self._key = key
        self._call = call or _call
        self._fetch = fetcher

    def describe(self) -> str:
        """One line for people; never the key."""
        return f"{self.name}: web search with the key in {self.key_name}; private addresses are refused"

    async def fetch(self, url: str) -> Page:
        """The page of a public web address."""
        fetched = await self._fetch(url)
        if "html" in fetched.media:
            return html_page(fetched.url, fetched.text)
        return Page(fetched.url, fetched.url, fetched.text or "(empty)")


class Exa(Web):
    """api.exa.ai: search, and the contents of pages as its own crawler saw them."""

    name, key_name = "exa", "EXA_API_KEY"

    async def search(self, query: str, count: int) -> list[Hit]:
        """Results with a summary or the beginning of the text."""
        body = {"query": query, "numResults": count, "contents": {"text": {"maxCharacters": 600}}}
        reply = await self._call("POST", "https://api.exa.ai/search", {"x-api-key": self._key}, json=body)
        return [
            Hit(entry["url"], entry.get("title") or entry["url"], entry.get("summary") or entry.get("text") or "")
            for entry in reply.get("results", [])
            if entry.get("url")
        ]

    async def fetch(self, url: str) -> Page:
        """The page's contents from Exa; from the web itself where Exa has none. Private addresses never leave here."""
        _scheme, host, port = target(url)
        body = {"urls": [url], "text": {"includeHtmlTags": True}}
        try:
            reply = await self._call("POST", "https://api.exa.ai/contents", {"x-api-key": self._key}, json=body)
        except BrowserError:
            reply = {}
        for entry in reply.get("results", []):
            if entry.get("text"):
                return html_page(url, entry["text"], entry.get("title") or "")
        await resolve(host, port)
        return await super().fetch(url)


class YouCom(Web):
    """api.ydc-index.io: search; pages come from the web itself."""

    name, key_name = "youcom", "YDC_API_KEY"

    async def search(self, query: str, count: int) -> list[Hit]:
        """Web results with their snippets."""
        params = {"query": query, "count": count}
        reply = await self._call("GET", "https://api.ydc-index.io/v1/search", {"X-API-Key": self._key}, params=params)
        entries = (reply.get("results") or {}).get("web") or []
        return [
            Hit(
                entry["url"],
                entry.get("title") or entry["url"],
                " ".join(entry.get("snippets") or []) or entry.get("description") or "",
            )
            for entry in entries[:count]
            if entry.get("url")
        ]


async def _call(method: str, url: str, headers: dict, **more) -> dict:
    """One request to a search service; its failures as BrowserError, without the key."""
    import httpx

    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            response = await client.request(method, url, headers=headers, **more)
        if response.status_code in (401, 403):
            raise BrowserError("The search service refused the key.")
        if response.status_code >= 400:
            raise BrowserError(f"The search service answered {response.status_code}.")
        return response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise BrowserError(f"The search service did not answer ({type(error).__name__}).") from None


def choose(name: str = "auto", corpus: Path | None = None, environ=os.environ):
    """The backend asked for; `auto` is the local corpus, so that nothing leaves this machine unasked."""
    services = {kind.name: kind for kind in (Exa, YouCom)}
    if name in services:
        kind = services[name]
        key = environ.get(kind.key_name, "").strip()
        if not key:
            raise CookbookError(
                f"the {name} backend has no key", why=f"{kind.key_name} is not set", do="set it, or use the corpus"
            )
        return kind(key)
    if name not in ("auto", "corpus"):
        raise UsageError(f"no browser backend is called {name!r}", do="choose auto, corpus, exa or youcom")
    if corpus is None:
        return embedded()
    if not corpus.is_dir():
        raise UsageError(f"{corpus} is no folder", do="name a folder of pages with --corpus")
    return Corpus([corpus], corpus)
