"""The seed guide of August 2025 line by line: recipes/seed.yaml, and the page docs/seed.md that is written from it."""

from pathlib import Path
from typing import Literal

from helpers import paths
from helpers.files import write_whole
from helpers.recipes.files import RecipeError, check_file
from helpers.recipes.responses import load_support
from helpers.recipes.settings import Strict, Text

DATA = paths.RECIPES / "seed.yaml"
PAGE = paths.ROOT / "docs" / "seed.md"


class Parse(Strict):
    """Words for `vllm` and variables, and whether the pinned vLLM takes them."""

    argv: list[str]
    env: dict[str, str] = {}  # noqa: RUF012 (pydantic copies mutable defaults)
    taken: bool


class Entry(Strict):
    """One instruction of the seed."""

    seed: Text
    kind: Literal["command", "flag", "variable", "image", "claim", "limitation", "troubleshooting"]
    became: Text
    since: Text
    now: Text
    parse: Parse | None = None


class Section(Strict):
    """A chapter of the seed."""

    title: Text
    entries: list[Entry]


class Seed(Strict):
    """The whole guide."""

    checked_with: str
    sections: list[Section]

    def entries(self) -> list[Entry]:
        """Every entry, in order."""
        return [entry for section in self.sections for entry in section.entries]


def load_seed(path: Path = DATA) -> Seed:
    """The seed's entries; `RecipeError` names every fault with its key."""
    seed, faults = check_file(path, Seed)
    if seed is None:
        raise RecipeError(faults)
    return seed


def page(seed: Seed) -> str:
    """The page as Markdown."""
    entries = seed.entries()
    asked = [entry for entry in entries if entry.parse]
    taken = sum(entry.parse.taken for entry in asked)
    lines = [
        "# The guide of August 2025, line by line",
        "",
        "This cookbook grew from the guide that vLLM published with gpt-oss in August 2025 (vLLM 0.10.1). Its",
        f"{len(entries)} instructions, options, variables, images and limits stand here with what became of each.",
        f"{len(asked)} of them are put before the argument parser of vLLM {seed.checked_with} whenever the tests run: it takes",
        f"{taken} and refuses {len(asked) - taken}. Removed variables are the trap among them: vLLM ignores them with one",
        "line of warning, so every launch here uses `--fail-on-environ-validation`.",
        "",
        "*Written by `python -m maintain.seed` from `recipes/seed.yaml`.*",
    ]
    for section in seed.sections:
        lines += [
            "",
            f"## {section.title}",
            "",
            "| The guide | What it became | Since | Here now |",
            "|---|---|---|---|",
        ]
        lines += [_row(entry, seed.checked_with) for entry in section.entries]
    found = load_support()
    lines += [
        "",
        "## The Responses API today",
        "",
        f"Found by asking a running server (vLLM {found.vllm}, {found.model}); `topics/endpoints.ipynb` asks again.",
        "",
        *found.markdown(),
    ]
    return "\n".join(lines) + "\n"


def _row(entry: Entry, version: str) -> str:
    literal = entry.kind in {"command", "flag", "variable", "image"} or entry.seed.startswith("AssertionError")
    said = f"`{entry.seed}`" if literal and not entry.seed.startswith(("wait", "aime25", "EXA")) else entry.seed
    verdict = ""
    if entry.parse:
        verdict = f" **({'taken' if entry.parse.taken else 'refused'} by the parser of {version})**"
    cells = (said, entry.became + verdict, entry.since, entry.now)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write() -> None:
    """Write the page anew."""
    write_whole(PAGE, page(load_seed()))


if __name__ == "__main__":
    write()
