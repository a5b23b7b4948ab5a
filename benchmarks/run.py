"""`make bench`: every benchmark, its record, and the table in docs/benchmarks.md.

python -m benchmarks.run [fidelity] [sweep_cost] [startup_cost] [start_phases] [notebook_cost] [tools_latency] [seeded_prompts]
                         [recovery] [--table]
"""

import argparse
import sys

from benchmarks import (
    fidelity,
    notebook_cost,
    recovery,
    seeded_prompts,
    start_phases,
    startup_cost,
    sweep_cost,
    tools_latency,
)
from benchmarks.result import NAMES, TABLE, Result, read_all, table
from helpers.errors import CookbookError
from helpers.paths import CACHE


def take(name: str) -> Result:
    """Run one benchmark."""
    if name in ("notebook_cost", "tools_latency"):
        return {"notebook_cost": notebook_cost, "tools_latency": tools_latency}[name].measure()
    from helpers.machine.stack import ensure
    from helpers.server.weights import build_nano

    interpreter = ensure("cpu")
    checkpoint = build_nano(interpreter, CACHE / "models")
    chosen = {
        "fidelity": fidelity,
        "sweep_cost": sweep_cost,
        "startup_cost": startup_cost,
        "start_phases": start_phases,
        "seeded_prompts": seeded_prompts,
        "recovery": recovery,
    }
    return chosen[name].measure(interpreter, checkpoint)


def main() -> int:
    """The command line: exits 1 when a bar is missed."""
    names = list(NAMES)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(names)}; all unless given")
    parser.add_argument("--table", action="store_true", help="only write the table from the records")
    options = parser.parse_args()
    if unknown := set(options.names) - set(names):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(names)}")
    missed = []
    try:
        for name in [] if options.table else options.names or names:
            result = take(name)
            result.write()
            for value in result.values:
                verdict = {None: "", True: "ok", False: f"MISSED (bar {value.bar})"}[value.reached]
                print(f"{name:14} {value.name:55} {value.value:8.3g} {value.unit:2} {verdict}", flush=True)
                missed += [value.name] if value.reached is False else []
    except CookbookError as error:
        print(f"bench: {error.line()}", file=sys.stderr)
        return error.exit_code
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table(read_all()))
    if missed:
        print(f"bench: {len(missed)} bar(s) missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
