"""HTML as the browser tool shows it: readable text with numbered links."""

import re
from typing import Any
from urllib.parse import urljoin, urlsplit

from helpers.tools.browser.page import Page, plain

DROPPED = ["script", "style", "noscript", "template", "svg", "iframe", "form", "nav", "head"]
BLOCKS = {"p", "div", "section", "article", "ul", "ol", "table", "tr", "pre", "blockquote", "br", "hr", "main"}
MAX_LINKS = 2_000
MAX_DEPTH = 200


def page(url: str, source: str, title: str = "") -> Page:
    """A page of HTML, its links as 【id†text†domain】."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(source, "html.parser")
    title = title or (soup.title.get_text(" ", strip=True) if soup.title else "") or url
    for tag in soup(DROPPED):
        tag.decompose()
    links: list[tuple[str, int]] = []
    text = "".join(_text(soup, url, links, 0))
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" ?\n ?", "\n", text)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    return Page(url, plain(title)[:200], text or "(no text)", links)


def _text(node: Any, base: str, links: list[tuple[str, int]], depth: int):
    from bs4 import Comment, NavigableString

    for child in node.children:
        if isinstance(child, Comment):
            continue
        if isinstance(child, NavigableString):
            yield plain(str(child)) if node.name != "pre" else str(child)
            continue
        if depth > MAX_DEPTH:
            yield plain(child.get_text(" ", strip=True))
            continue
        inner = "".join(_text(child, base, links, depth + 1))
        if child.name == "a" and (link := _link(child, inner, base, links)):
            yield link
        elif child.name and re.fullmatch(r"h[1-6]", child.name):
            yield f"\n\n{'#' * int(child.name[1])} {inner.strip()}\n\n"
        elif child.name == "li":
            yield f"\n* {inner.strip()}"
        elif child.name in ("td", "th"):
            yield f"{inner.strip()} | "
        elif child.name in BLOCKS:
            yield f"\n{inner}\n"
        else:
            yield inner


def _link(tag, text: str, base: str, links: list[tuple[str, int]]) -> str:
    """The tag as a numbered link; empty where it leads nowhere that can be opened."""
    try:
        url = urljoin(base, tag.get("href") or "")
        parts = urlsplit(url)
    except ValueError:
        return ""
    words = " ".join(text.split())
    if not words or parts.scheme not in ("http", "https") or len(links) >= MAX_LINKS or "【" in words:
        return ""
    links.append((url.partition("#")[0], 0))
    there = parts.hostname or ""
    outside = f"†{plain(there)}" if there != urlsplit(base).hostname else ""
    return f"【{len(links) - 1}†{plain(words)}{outside}】"
