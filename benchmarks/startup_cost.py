"""From launch to the first streamed token: the cookbook against the same command by hand, and bare `vllm serve`."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.result import Result, Value, result_of
from benchmarks.sweep_cost import recipe_command
from helpers.machine import facts
from helpers.recipes.command.serve import bare_command
from helpers.runs.folder import kept_on_failure
from helpers.server import free_port
from maintain.studies.startup import FIRST_REQUEST, Start, by_hand, through_cookbook

MODEL = "gpt-oss-nano"
SHARE, SECONDS = 0.02, 1.0  # the bar: at most this share of the start by hand, or this long


def measure(interpreter: Path, checkpoint: Path) -> Result:
    """By hand, cookbook, cookbook, by hand: the least of each, so that a drift of the machine favours neither."""
    with kept_on_failure("bench-startup") as folder:

        def recipe(how: Callable[..., Start], name: str) -> Start:
            command = recipe_command(checkpoint, free_port())
            argv, log = command.run_by(interpreter), folder / f"{name}.log"
            return how(argv, command.env, port=command.port, log=log, model=MODEL)

        def bare() -> Start:
            port = free_port()
            argv = bare_command(str(checkpoint), MODEL, port).run_by(interpreter)
            env = recipe_command(checkpoint, port).env  # bare takes half of the machine's memory otherwise
            env = {name: env[name] for name in ("VLLM_CPU_KVCACHE_SPACE", "VLLM_NO_USAGE_STATS")}
            return by_hand(argv, env, port=port, log=folder / "bare.log", model=MODEL)

        recipe(by_hand, "unmeasured")  # reads everything from the disk once
        hand = [recipe(by_hand, "hand-1")]
        ours = [recipe(through_cookbook, "cookbook-1"), recipe(through_cookbook, "cookbook-2")]
        hand.append(recipe(by_hand, "hand-2"))
        plain = bare()
    return result(ours, hand, plain, facts.versions(interpreter)["vllm"])


def result(ours: list[Start], hand: list[Start], plain: Start, vllm: str) -> Result:
    """The record of these starts."""
    mine, theirs = (min(starts, key=lambda start: start.total) for starts in (ours, hand))
    bar = max(SECONDS, SHARE * theirs.total)
    values = [
        Value(
            name="cookbook - by hand, same command",
            value=mine.total - theirs.total,
            unit="s",
            bar=bar,
            detail="1 s or 2 %, the least of two each",
        ),
        Value(name="cookbook / by hand, same command", value=mine.total / theirs.total, unit="x"),
        Value(
            name="cookbook / bare vllm serve",
            value=mine.total / plain.total,
            unit="x",
            detail="the recipe's latency profile, caches warm",
        ),
        Value(name="cookbook: launch to first streamed token", value=mine.total, unit="s"),
        Value(name="by hand: the same", value=theirs.total, unit="s"),
        Value(name="bare vllm serve: the same", value=plain.total, unit="s"),
        Value(name="of the cookbook's: the first request", value=mine.phases[FIRST_REQUEST], unit="s"),
    ]
    return result_of("startup_cost", "What does the cookbook add to a start?", values, {"vllm": vllm})
