"""The default backend: pages of a folder, searched with BM25. Embedded default: the cookbook's own pages."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from helpers.errors import CookbookError
from helpers.paths import ROOT
from helpers.tools.browser.page import BrowserError, Hit, Page

SCHEME = "cookbook://"
SUFFIXES = {".md", ".txt", ".rst", ".yaml", ".yml", ".ipynb"}
EMBEDDED = ("README.md", "CONTRIBUTING.md", "docs", "notebooks", "recipes")
SKIPPED = {"records", "locks", ".ipynb_checkpoints"}
MAX_FILE = 1_000_000  # bytes
MAX_SECTION = 60  # lines


@dataclass(frozen=True)
class Passage:
    """A heading and what follows it: the unit of the index."""

    url: str
    title: str
    line: int
    text: str


def embedded() -> "Corpus":
    """The cookbook's own pages: README, docs, notebooks, recipes."""
    return Corpus([ROOT / name for name in EMBEDDED], ROOT)


class Corpus:
    """Pages of files and folders, addressed as cookbook://PATH below `root`. Nothing outside is reachable."""

    name = "corpus"

    def __init__(self, places: list[Path], root: Path):
        self.root = root.resolve()
        self.pages: dict[str, Page] = {}
        for path in files(places):
            if (page := self._load(path)) is not None:
                self.pages[page.url] = page
        if not self.pages:
            raise CookbookError(
                "the browser's corpus is empty",
                why=f"no page ({', '.join(sorted(SUFFIXES))}) lies in {', '.join(map(str, places))}",
                do="name a folder that holds some with --corpus",
            )
        self.sections = [section for page in self.pages.values() for section in sections(page)]
        self._index = _index([f"{section.title}\n{section.text}" for section in self.sections])

    def describe(self) -> str:
        """One line for people."""
        return f"corpus: {len(self.pages)} local pages, {len(self.sections)} sections, BM25"

    async def search(self, query: str, count: int) -> list[Hit]:
        """The best sections, at most one for each page and those that share a word with the query."""
        import bm25s

        tokens = bm25s.tokenize([query], stopwords="en", show_progress=False)
        if not tokens.vocab:
            return []
        depth = min(len(self.sections), 5 * count)
        ranks, scores = self._index.retrieve(tokens, k=depth, show_progress=False)
        hits: dict[str, Hit] = {}
        for number, score in zip(ranks[0], scores[0], strict=True):
            section = self.sections[int(number)]
            if score > 0 and section.url not in hits and len(hits) < count:
                hits[section.url] = Hit(section.url, section.title, section.text, section.line)
        return list(hits.values())

    async def fetch(self, url: str) -> Page:
        """The page of that address; others do not exist here."""
        page = self.pages.get(url) or self.pages.get(SCHEME + quote(unquote(url.removeprefix(SCHEME)).lstrip("/")))
        if page is None:
            raise BrowserError(f"`{url[:200]}` is not among the pages here: search, then open a result by its id.")
        return page

    def _load(self, path: Path) -> Page | None:
        real = path.resolve()
        if not real.is_relative_to(self.root) or real.stat().st_size > MAX_FILE:
            return None
        try:
            text = real.read_text(encoding="utf-8")
            text = notebook_text(text) if path.suffix == ".ipynb" else text
        except (UnicodeDecodeError, ValueError):
            return None
        if "\0" in text or not text.strip():
            return None
        name = real.relative_to(self.root).as_posix()
        heading = re.search(r"^#\s+(.+)$", text, re.MULTILINE) if path.suffix in {".md", ".ipynb"} else None
        return Page(SCHEME + quote(name), heading[1].strip() if heading else name, text)


def files(places: list[Path]) -> Iterator[Path]:
    """The text files among the places, folders searched whole, in a stable order."""
    for place in places:
        found = sorted(place.rglob("*")) if place.is_dir() else [place] * place.is_file()
        for path in found:
            if path.suffix in SUFFIXES and path.is_file() and not SKIPPED.intersection(path.parts):
                yield path


def notebook_text(source: str) -> str:
    """A notebook's prose, and its code as code blocks; outputs stay out."""
    cells = json.loads(source).get("cells", [])
    parts = []
    for cell in cells:
        text = "".join(cell.get("source", []))
        if cell.get("cell_type") == "markdown":
            parts.append(text)
        elif cell.get("cell_type") == "code" and text.strip():
            parts.append(f"```python\n{text}\n```")
    return "\n\n".join(parts)


def sections(page: Page) -> list[Passage]:
    """The page cut at its headings, long stretches cut again."""
    lines = page.text.split("\n")
    prose = page.url.endswith((".md", ".ipynb"))
    starts = [0] + [number for number, line in enumerate(lines) if number and prose and re.match("#{1,4} ", line)]
    cuts: list[int] = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        cuts += range(start, max(end, start + 1), MAX_SECTION)
    found = []
    for start, end in zip(cuts, [*cuts[1:], len(lines)], strict=True):
        text = "\n".join(lines[start:end]).strip()
        if text:
            heading = lines[start].lstrip("# ").strip() if prose and lines[start].startswith("#") else ""
            title = page.title if not heading or heading == page.title else f"{page.title}: {heading}"
            found.append(Passage(page.url, title, start, text))
    return found


def _index(texts: list[str]):
    import bm25s

    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    return index
