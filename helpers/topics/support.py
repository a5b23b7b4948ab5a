"""What vLLM supports of the Responses API, as the probes found it: recipes/responses_support.yaml, read and written.

`python -m helpers.topics.support` asks the CPU recipe's server with both tools and writes the file anew.
"""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from helpers.errors import CookbookError
from helpers.paths import RECIPES, shown
from helpers.topics.surface import Row, Surface

DATA = RECIPES / "responses_support.yaml"
STATES = ("supported", "partly", "ignored", "refused")
HEAD = "# What vLLM does with each part of the Responses API. Written by `python -m helpers.topics.support`: by asking.\n"


@dataclass(frozen=True)
class Support:
    """The rows, and the server that they were seen on."""

    vllm: str
    model: str
    rows: list[Row]

    def markdown(self) -> list[str]:
        """The table as Markdown lines, for a page."""
        lines = ["| Responses API | vLLM | what was seen |", "|---|---|---|"]
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
            do="write it with `python -m helpers.topics.support`",
        ) from None


def write_support(support: Support, path: Path = DATA) -> Path:
    """Write the file whole or not at all."""
    content = yaml.safe_dump(asdict(support), sort_keys=False, allow_unicode=True, width=120)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(HEAD + content, encoding="utf-8")
    os.replace(temporary, path)
    return path


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


def main() -> None:
    from helpers.runs.facts import versions
    from helpers.topics import Session

    run = Session("cpu", {"port": 0})
    try:
        server = run.begin()
        rows = Surface(server.base_url, server.model).table()
        found = Support(versions(run.interpreter)["vllm"], server.model, rows)
        print(shown(write_support(found)))
    finally:
        if run.server:
            run.stop()


if __name__ == "__main__":
    main()
