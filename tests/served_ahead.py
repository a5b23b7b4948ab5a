"""Start the suite's server while the quick tests run: `python tests/served_ahead.py FOLDER`, until stdin closes.

A start of vLLM takes half a minute, in which the quick tests need one core. The fixture `session` attaches to the server.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main(folder: str) -> None:
    """Serve until stdin closes, then let go: the server goes on for whoever has attached to it."""
    from helpers.runs.run import Run

    run = Run("cpu", {"run_dir": folder, "port": 0})
    try:
        run.begin()
        sys.stdin.read()
    finally:
        for used in filter(None, (run.server, run.tool_servers)):
            used.stop()


if __name__ == "__main__":
    main(sys.argv[1])
