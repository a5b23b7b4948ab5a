"""Writes tables of what vLLM does by asking the CPU recipe's server; this one is recipes/responses_support.yaml.

`python -m maintain.responses_support` asks about the parts of the Responses API; maintain.clients has other questions.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import yaml

from helpers.files import write_whole
from helpers.paths import shown
from maintain.clients.responses_api import Surface
from maintain.clients.support import DATA, Row, Support

HEAD = "# What vLLM does with {}. Written by `python -m {}`: by asking.\n"


def write_support(
    support: Support,
    path: Path = DATA,
    of: str = "each part of the Responses API",
    by: str = "maintain.responses_support",
) -> Path:
    """Write the file whole or not at all."""
    content = yaml.safe_dump(asdict(support), sort_keys=False, allow_unicode=True, width=120)
    return write_whole(path, HEAD.format(of, by) + content)


@contextlib.contextmanager
def asked(*flags: str) -> Iterator[tuple[Surface, str]]:
    """(what asks, the version of vLLM) of the CPU recipe's server with both tools, and with more flags where given."""
    from helpers.machine.facts import versions
    from helpers.recipes.command.serve import flags_of
    from helpers.runs.run import Run

    run = Run("cpu", {"port": 0})
    run.more = flags_of(flags)
    try:
        server = run.begin()
        yield Surface(server.base_url, server.model), versions(run.interpreter)["vllm"]
    finally:
        if run.server:
            run.stop()


def write(rows: list[Row], version: str, path: Path, of: str, by: str) -> None:
    """Write a table and say so."""
    print(shown(write_support(Support(version, "gpt-oss-nano", rows), path, of, by)))


def main() -> None:
    with asked() as (surface, version):
        write(surface.table(), version, DATA, "each part of the Responses API", "maintain.responses_support")


if __name__ == "__main__":
    main()
