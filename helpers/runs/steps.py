"""Small steps of a run: known answers asked, a rehearsal's command parsed, the command as `docker run`."""

from dataclasses import replace
from typing import Any

from helpers.bench import worker as load
from helpers.checks import Contract, Facts
from helpers.paths import ROOT
from helpers.recipes import Model, Parameters, Target
from helpers.recipes.command.forms import render
from helpers.recipes.command.serve import Command

REAL = ("hub", "path")


def not_asked(weights: str, parameters: Parameters) -> str:
    """Why known answers say nothing about what is served; empty where they do.

    Random weights answer noise on sound kernels too, and gpt-oss-nano knows the answers in part only
    (`cookbook eval cpu --eval quick` measures it by a bar of its own). `weights` is the kind that is served.
    """
    if weights in REAL:
        return ""
    if parameters.rehearse:
        return "a rehearsal serves gpt-oss-nano, the questions are for real weights"
    return f"the questions are for real weights (hub or a path), not for {parameters.weights_kind} ones"


def ask(base_url: str, model: str) -> Contract:
    """Ask the server, print the shares of right answers and what was wrong; the contract of both rounds."""
    from helpers.checks.known_answers import run_quick

    found = run_quick(base_url + "/v1", model)
    print(found)
    return found.contract()


def parsed(command: Command, worker: Any) -> Contract:
    """Put a recipe's own command before the parser of the vLLM that a load client has imported."""
    commands = [{"id": "own", "argv": command.argv[1:], "env": command.env}]
    found, facts = load.parsed(worker, commands)[0]["faults"], Facts()
    for kind, name in (("flag", "flags"), ("variable", "variables")):
        wrong = [f"{fault.get('name')}: {fault['message']}" for fault in found if fault["kind"] == kind]
        facts.need(name, not wrong, "; ".join(wrong))
    return facts.contract("command.parsed", "command")


def docker_run(target: Target, model: Model, parameters: Parameters, command: Command) -> str:
    """The command in a container. A checkpoint named relative to the checkout is found from any folder.

    The checkout is written as `$PWD`, as for a shell in it: the text stands in pages that others read.
    """
    if (ROOT / command.weights).is_dir():
        command = replace(command, weights=str(ROOT / command.weights))
    return render("docker", target, model, parameters, command).replace(f"{ROOT}/", '"$PWD"/').rstrip()
