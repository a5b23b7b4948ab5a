"""Build the site: `python -m maintain.site.build [OUT]`; fails on any warning and on any link that leads nowhere."""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup

from helpers.errors import CookbookError
from helpers.paths import NOTEBOOKS, ROOT
from helpers.recipes import target_names
from maintain.site import builder, pages

OUT = ROOT / "build" / "site"
HERE = Path(__file__).parent
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "README.zh.md")
LINK = re.compile(r"(?<!!)\[([^\]\[]+)\]\(([^)\s]+)\)")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


def gather(source: Path) -> None:
    """Lay the sources out as in the checkout, with the pages that only the site has."""
    texts = {Path(name): (ROOT / name).read_text() for name in PAGES}
    texts |= {path.relative_to(ROOT): path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
    texts[Path("index.md")] = (ROOT / "README.md").read_text() + pages.INDEX
    texts[Path("builder.md")] = builder.PAGE
    (source / "pictures").mkdir(parents=True)
    texts[Path("records.md")] = pages.records_page(source / "pictures")
    texts[Path("targets/index.md")] = pages.targets_index()
    texts |= {Path(f"targets/{name}.md"): pages.target_page(name) for name in target_names()}
    for place, text in texts.items():
        write(source / place, adapted(text, place.parent, source))
    for path in sorted(NOTEBOOKS.rglob("[!_]*.ipynb")):
        place = path.relative_to(ROOT)
        notebook = nbformat.read(path, as_version=4)
        section = ""
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = adapted(cell.source, place.parent, source)
                section = [section, *re.findall(r"^#+ (.+)$", cell.source, re.M)][-1]
            elif said := described(cell, section):
                cell.metadata["mystnb"] = {"image": {"alt": said}}
            for shown in (output.get("data", {}) for output in cell.get("outputs", [])):
                if "text/markdown" in shown:  # Sphinx follows no links of outputs
                    shown["text/markdown"] = re.sub(r"\]\(([\w./-]+)\.ipynb", r"](\1.html", shown["text/markdown"])
        write(source / place, nbformat.writes(notebook))
    for name in ("builder.js", "reach.js", "site.css"):
        write(source / "_static" / name, (HERE / name).read_text())
    write(source / "_static" / "builder-data.js", builder.script())


def described(cell: nbformat.NotebookNode, section: str) -> str:
    """What a cell's picture shows, in words: its own, else its text, which holds the numbers, else what its section is about."""
    shown = [output for output in cell.outputs if "image/png" in output.get("data", {})]
    if not shown:
        return ""
    own = shown[0].metadata.get("image/png", shown[0].metadata).get("alt") or "".join(
        shown[0].data.get("text/plain", "<")
    )
    return f"Figure: {section}" if own.startswith("<") else " ".join(own.split())


def adapted(text: str, folder: Path, source: Path) -> str:
    """A page's text for the site: README is the entrance, a file that the site does not hold is named, pictures come along."""
    for match in PICTURE.finditer(text):
        picture = (ROOT / folder / match[1]).resolve()
        if picture.is_file():
            place = source / picture.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, place)

    def link(match: re.Match[str]) -> str:
        words, where = match.groups()
        if urlsplit(where).scheme:
            return match[0]
        path, _, raw = where.partition("#")
        anchor = (
            "#" + re.sub(r"[^\w-]", "", unquote(raw).lower()) if raw else ""
        )  # JupyterLab keeps capitals, MyST does not
        goal = ROOT / folder / path
        own = goal.read_text() if path.endswith(".md") and goal.is_file() else text if not path else ""
        if raw and f'id="{raw}"' in own:  # an anchor in HTML, which MyST does not see
            return f'<a href="{path.removesuffix(".md") + ".html" if path else ""}#{raw}">{words}</a>'
        if not path:
            return f"[{words}]({anchor})"
        place = (ROOT / folder / path).resolve()
        relative = place.relative_to(ROOT) if place.is_relative_to(ROOT) else place
        if relative == Path("README.md"):
            return f"[{words}]({'../' * len(folder.parts)}index.md{anchor})"
        held = (
            relative.suffix == ".ipynb"
            or (relative.suffix == ".md" and relative.parts[0] in ("docs", "targets"))
            or str(relative) in (*PAGES, "builder.md")
        )
        return (
            f"[{words}]({path}{anchor})"
            if held
            else f"`{relative}`"
            if words.strip("`") == path
            else f"{words} (`{relative}`)"
        )

    return LINK.sub(link, text).replace("```mermaid", "```text")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def build(out: Path = OUT) -> list[str]:
    """Build into `out`, anew; returns the broken links. Raises CookbookError with Sphinx's warnings."""
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        gather(source)
        words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", "2", "-b", "html", "-c", str(HERE)]
        words += [
            "-D",
            f"html_static_path={source / '_static'}",
            "-d",
            str(Path(folder) / "doctrees"),
            str(source),
            str(out),
        ]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise CookbookError(
                "the site was not built", why=done.stderr.replace(folder, "")[-3000:], do="mend the pages it names"
            )
    return broken(out)


def broken(out: Path) -> list[str]:
    """Every link of the site to a file or an anchor that is not there, and every picture without words, as `page -> link`."""
    soups = {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in sorted(out.rglob("*.html"))
    }
    anchors = {path: {tag["id"] for tag in soup.find_all(id=True)} for path, soup in soups.items()}
    found = []
    for path, soup in soups.items():
        for tag in soup.find_all(["a", "img", "link", "script"]):
            where = tag.get("href") or tag.get("src") or ""
            parts = urlsplit(where)
            if parts.scheme or parts.netloc or not where:
                continue
            goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            goal = goal / "index.html" if goal.is_dir() else goal
            missing = parts.fragment and goal in anchors and unquote(parts.fragment) not in anchors[goal]
            if not goal.exists() or missing:
                found.append(f"{path.relative_to(out)} -> {where}")
            if tag.name == "img" and not tag.get("alt", "").strip(" ./").removeprefix(where.strip(" ./")):
                found.append(f"{path.relative_to(out)} -> {where} has no words for those who cannot see it")
    return found


def main() -> None:
    began = time.monotonic()
    out = Path(sys.argv[1]).resolve() if sys.argv[1:] else OUT
    try:
        links = build(out)
    except CookbookError as error:
        sys.exit(f"cookbook: {error.what}:\n{error.why}")
    if links:
        sys.exit("cookbook: links that lead nowhere:\n" + "\n".join(links))
    print(f"{out}/index.html: {len(list(out.rglob('*.html')))} pages in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
