"""The recipes' commands put before vLLM's own argument parser, in one process of a stack's interpreter."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from helpers import paths
from helpers.errors import CookbookError
from maintain.combinations import Combination, combinations

PARSE_TIMEOUT_S = 600  # the import alone takes 20 CPU-seconds, more on a busy machine


@dataclass(frozen=True)
class Fault:
    """One thing that vLLM does not take, where it stands and which combinations meet it."""

    where: str  # file and key
    name: str  # the flag or variable
    message: str
    combinations: tuple[str, ...]

    def line(self) -> str:
        """The fault on one line."""
        first, more = self.combinations[0], len(self.combinations) - 1
        return f"{self.where}: {self.name or 'command'}: {self.message} ({first}{f' and {more} more' if more else ''})"


@dataclass(frozen=True)
class ParserReport:
    """What one vLLM said about the commands it was given."""

    vllm: str
    commands: int
    faults: list[Fault]
    warnings: list[str]
    not_checked: list[str]
    platform: str


def check_commands(python: Path, commands: list[dict], package: Path | None = None) -> dict:
    """The raw answer of helpers.instack.flags for [{id, argv, env}] under the interpreter of a stack.

    `package` is a folder that holds another vLLM, which then runs on the libraries of that stack.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
    env["PYTHONPATH"] = os.pathsep.join(map(str, filter(None, [package, paths.ROOT, os.environ.get("PYTHONPATH")])))
    env.pop("HF_HUB_OFFLINE", None)  # offline, vLLM would look for the weights while it parses
    try:
        done = _asked(python, commands, env)
    except subprocess.TimeoutExpired:
        raise CookbookError(
            f"vLLM's argument parser gave no answer within {PARSE_TIMEOUT_S} s", do="try again on a quieter machine"
        ) from None
    if done.returncode or not done.stdout.strip():
        last = [line for line in done.stderr.splitlines() if line.strip()]
        raise CookbookError(
            "vLLM's argument parser could not be asked",
            why=last[-1] if last else f"exit code {done.returncode}",
            do=f"see that {paths.shown(python)} can import vllm",
        )
    return json.loads(done.stdout)


def _asked(python: Path, commands: list[dict], env: dict[str, str]) -> subprocess.CompletedProcess:
    with Console(stderr=True).status("asking vLLM's argument parser"):  # shown on a terminal only
        return subprocess.run(
            [str(python), "-m", "helpers.instack.flags"],
            input=json.dumps({"commands": commands}),
            capture_output=True,
            text=True,
            env=env,
            timeout=PARSE_TIMEOUT_S,
        )


def check_recipes(python: Path, chosen: list[Combination] | None = None, package: Path | None = None) -> ParserReport:
    """Every combination's command before the parser of the vLLM that `python` can import (or of `package`)."""
    chosen = list(combinations()) if chosen is None else chosen
    by_id = {one.id: one for one in chosen}
    commands = [{"id": one.id, "argv": one.command.words, "env": one.command.env} for one in chosen]
    answer = check_commands(python, commands, package)
    warnings = {warning for item in answer["answers"] for warning in item["warnings"]}
    return ParserReport(
        vllm=answer["vllm"],
        commands=len(chosen),
        faults=summarised(answer["answers"], by_id),
        warnings=sorted(warnings),
        not_checked=answer["not_checked"],
        platform=answer["platform"],
    )


def summarised(answers: list[dict], by_id: dict[str, Combination]) -> list[Fault]:
    """The faults of all commands, each once, with the place in the recipes that it comes from."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for item in answers:
        for fault in item["faults"]:
            where = by_id[item["id"]].origin(fault["kind"], fault["name"])
            found.setdefault((where, fault["name"], fault["message"]), []).append(item["id"])
    return [Fault(*key, tuple(ids)) for key, ids in found.items()]
