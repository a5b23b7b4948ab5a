"""What a running vLLM was seen to do with each part of the Responses API: recipes/responses_support.yaml."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from helpers.errors import CookbookError
from helpers.paths import RECIPES, shown

DATA = RECIPES / "responses_support.yaml"
STATES = ("supported", "partly", "ignored", "refused")


@dataclass(frozen=True)
class Row:
    """One feature: what it is, how the server treats it, and what was seen (nothing that varies between runs)."""

    feature: str
    state: str  # one of STATES
    seen: str


@dataclass(frozen=True)
class Support:
    """The rows, and the server that they were seen on."""

    vllm: str
    model: str
    rows: list[Row]

    def markdown(self, of: str = "Responses API") -> list[str]:
        """The table as Markdown lines, for a page."""
        lines = [f"| {of} | vLLM | what was seen |", "|---|---|---|"]
        return lines + [f"| {row.feature} | {row.state} | {row.seen} |" for row in self.rows]


def load_support(path: Path = DATA) -> Support:
    """The file; raises `CookbookError` for one that is none."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows = [Row(**row) for row in content.pop("rows")]
        unknown = [row.state for row in rows if row.state not in STATES]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no state")
        return Support(rows=rows, **content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise CookbookError(
            f"{shown(path)} is no table of support",
            why=f"{type(error).__name__}: {error}",
            do="write it with `.venv/bin/python -m maintain.responses_support`",
        ) from None


def differences(rows: Iterable[Row], path: Path = DATA) -> list[str]:
    """Where rows seen just now differ from the file: one line for each."""
    kept = {row.feature: row for row in load_support(path).rows}
    seen = {row.feature: row for row in rows}
    lines = [f"{name}: not in the file" for name in seen.keys() - kept.keys()]
    lines += [f"{name}: not asked" for name in kept.keys() - seen.keys()]
    for name in seen.keys() & kept.keys():
        if seen[name] != kept[name]:
            now, then = seen[name], kept[name]
            lines.append(f"{name}: {now.state} ({now.seen}), in the file {then.state} ({then.seen})")
    return sorted(lines)
