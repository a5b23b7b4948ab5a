"""`python -m hunt` (`make fuzz`): hunt on the server of a recipe, or on one that runs already, until enough requests were sent.

    python -m hunt                                              gpt-oss-nano with the CPU recipe's flags, 10,000 requests
    python -m hunt --without seeded-prompt-in-parts             the same without a limit's remedy: it must find the killer
    python -m hunt --guarded                                    with the cookbook's middleware, and every kind of request
    python -m hunt --target h200 -p weights synthetic -p profile latency --seconds 500 --into runs/hunt-h200
    python -m hunt --base-url http://127.0.0.1:8000 --model gpt-oss-20b --random-weights
    python -m hunt --record --into runs/hunt-x [--name request_hunt] [--to DIR]    write the record of a hunt that is over
    python -m hunt --nastiest --into runs/hunt-x                keep its hundred nastiest requests for the tests

A folder that exists is gone on with. Exits 1 when a request ended the server, 0 after a clean end or when the time is over.
"""

import argparse
import sys
import time
from pathlib import Path

import yaml

from benchmarks.result import RECORDS
from helpers.errors import CookbookError
from helpers.paths import RUNS, shown
from hunt.chase import Hunt
from hunt.served import Given, Ours
from hunt.state import State


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m hunt", description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", help="a server that runs already")
    parser.add_argument("--target", default="cpu", help="the recipe whose server is started (cpu)")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument(
        "--without", action="append", default=[], metavar="LIMIT", help="leave a known limit's remedy off"
    )
    parser.add_argument("--model", default="gpt-oss-nano", help="the name that a given server calls its model by")
    parser.add_argument(
        "--random-weights", action="store_true", help="its weights are random: its answers are not compared"
    )
    parser.add_argument("--requests", type=int, default=10_000, help="how many in all (10,000)")
    parser.add_argument("--seconds", type=float, default=7_200, help="at most so long this time (7,200)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same requests (1)")
    parser.add_argument("--into", type=Path, help="the hunt's folder; one that exists is gone on with")
    parser.add_argument(
        "--memory-gib", type=float, default=8.0, help="a server of ours that takes more host memory is ended (8)"
    )
    parser.add_argument("--shrink-seconds", type=float, default=900, help="at most so long to make a kill small (900)")
    parser.add_argument(
        "--keep-server", action="store_true", help="leave the server to the next call, which attaches to it"
    )
    parser.add_argument("--all", action="store_true", help="send known killers that nothing prevents as well")
    parser.add_argument("--guarded", action="store_true", help="serve with the cookbook's middleware; implies --all")
    parser.add_argument("--scale-out", action="store_true", help="serve as a replica of a router that asks for tokens")
    parser.add_argument("--record", action="store_true", help="write the record of the hunt in --into, send nothing")
    parser.add_argument("--nastiest", action="store_true", help="keep the nastiest of the hunt in --into, send nothing")
    parser.add_argument("--name", default="request_hunt", help="the record's name (request_hunt)")
    parser.add_argument("--to", type=Path, default=RECORDS, help="the record's folder (benchmarks/records)")
    return parser.parse_args()


def main() -> int:
    """The command line."""
    given = options()
    folder = given.into or RUNS / f"hunt-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        if given.record:
            from hunt.record import written

            print(shown(written(folder, given.name, given.to)))
            return 0
        if given.nastiest:
            from hunt.record import keep_nastiest

            print(shown(keep_nastiest(folder)))
            return 0
        return hunted(given, folder)
    except CookbookError as error:
        print(f"hunt: {error.line()}", file=sys.stderr)
        return error.exit_code


def hunted(given: argparse.Namespace, folder: Path) -> int:
    """Hunt, and say how it ended."""
    folder.mkdir(parents=True, exist_ok=True)
    if given.base_url:
        served: Given = Given(given.base_url.rstrip("/").removesuffix("/v1"))
    else:
        values = {name: yaml.safe_load(value) for name, value in given.parameter}
        own = {"port": 0} | values
        ways = {"kept": given.keep_server, "guarded": given.guarded, "scale_out": given.scale_out}
        served = Ours("", target=given.target, parameters=own, without=tuple(given.without), folder=folder, **ways)
    served.start()
    try:
        model = served.command.model if isinstance(served, Ours) else given.model
        everything = given.all or given.guarded
        random = given.random_weights or (isinstance(served, Ours) and served.parameters.get("weights") == "synthetic")
        hunt = Hunt(
            State(served, model, random), folder, given.seed, say, given.memory_gib, given.shrink_seconds, everything
        )
        about(folder, served)
        done = hunt.go(given.requests, given.seconds)
    finally:
        if not given.keep_server:
            served.stop()
    told = f"{done.requests:,} requests, {len(done.findings)} kinds of findings, {len(done.kills)} kills"
    print(f"{told}; {shown(folder)}")
    return 0 if done.clean else 1


def about(folder: Path, served: Given) -> None:
    """Keep what was hunted on: the command, the versions."""
    import json

    from helpers.files import write_whole

    facts = {"base_url": served.base_url}
    if isinstance(served, Ours):
        facts = {
            "target": served.target,
            "without": served.without,
            "served": served.words,
            "argv": served.command.argv,
            "versions": served.versions,
        }
    if isinstance(served, Ours) or not (folder / "about.json").exists():
        write_whole(folder / "about.json", json.dumps(facts, indent=1))


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
