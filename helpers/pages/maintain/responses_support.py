"""Writes recipes/responses_support.yaml, what vLLM supports of the Responses API, and holds a server against it.

`python -m helpers.pages.maintain.responses_support` asks the CPU recipe's server with both tools and writes the file anew.
"""

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import yaml

from helpers.checks.responses_api import Surface
from helpers.paths import shown
from helpers.recipes.responses import DATA, Row, Support, load_support

HEAD = (
    "# What vLLM does with each part of the Responses API. "
    "Written by `python -m helpers.pages.maintain.responses_support`: by asking.\n"
)


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
    from helpers.machine.facts import versions
    from helpers.runs.run import Run

    run = Run("cpu", {"port": 0})
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
