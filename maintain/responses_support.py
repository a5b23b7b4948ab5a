"""Writes recipes/responses_support.yaml, what vLLM supports of the Responses API.

`python -m maintain.responses_support` asks the CPU recipe's server with both tools and writes the file anew.
"""

from dataclasses import asdict
from pathlib import Path

import yaml

from helpers.checks.responses_api import Surface
from helpers.files import write_whole
from helpers.paths import shown
from helpers.recipes.responses import DATA, Support

HEAD = (
    "# What vLLM does with each part of the Responses API. "
    "Written by `python -m maintain.responses_support`: by asking.\n"
)


def write_support(support: Support, path: Path = DATA) -> Path:
    """Write the file whole or not at all."""
    content = yaml.safe_dump(asdict(support), sort_keys=False, allow_unicode=True, width=120)
    return write_whole(path, HEAD + content)


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
