"""README.zh.md and start_here.zh.ipynb, held against their English originals: the same headings, commands, links, numbers.

Prose is translated by people. What is generated in the README stands in the original only.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nbformat

from helpers.paths import NOTEBOOKS, ROOT

TWINS = (
    (ROOT / "README.md", ROOT / "README.zh.md"),
    (NOTEBOOKS / "start_here.ipynb", NOTEBOOKS / "start_here.zh.ipynb"),
)
GENERATED = re.compile(r"<!-- begin:(\w+) -->\n.*?<!-- end:\1 -->\n", re.S)
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.S | re.M)
INDENTED = re.compile(r"^    (\S.*)$", re.M)
REMARK = re.compile(r"\s+#\s.*$", re.M)  # may be translated
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
OTHER = re.compile(r"README(?:\.zh)?\.md|start_here(?:\.zh)?\.ipynb")  # the way to the other language


def parts(path: Path) -> Iterator[tuple[str, list[str]]]:
    """What both languages have in common, by kind, in the order of the page."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        yield "cell of code", [cell.source for cell in cells if cell.cell_type == "code"]
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        text = GENERATED.sub("", path.read_text(encoding="utf-8"))
    blocks = [*FENCE.findall(text), *INDENTED.findall(text)]
    yield "command", [REMARK.sub("", block).strip() for block in blocks]
    text = INDENTED.sub("", FENCE.sub("", text))
    yield "heading of level", [str(len(marks)) for marks in re.findall(r"^(#+) ", text, re.M)]
    yield "number of table rows", [str(text.count("\n|"))]
    yield "word in code", sorted(word for word in SPAN.findall(text) if not OTHER.search(word))
    yield "link", sorted(link for link in LINK.findall(text) if not OTHER.search(link))
    yield "number", sorted(NUMBER.findall(LINK.sub("", SPAN.sub("", text))))


def differences(original: Path, twin: Path) -> list[str]:
    """What one of two pages has and the other has not."""
    found = []
    for (kind, own), (_, other) in zip(parts(original), parts(twin), strict=True):
        if own != other:
            lacking, more = Counter(own) - Counter(other), Counter(other) - Counter(own)
            found += [f"{twin.name} lacks the {kind} {one!r}" for one in lacking]
            found += [f"{twin.name} has the {kind} {one!r}, {original.name} has not" for one in more]
            found += [] if lacking or more else [f"{twin.name} has every {kind} in another order"]
    return found
