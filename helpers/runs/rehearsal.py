"""What a rehearsal checks in place of the launch that this machine cannot do."""

from typing import Any

from helpers.bench import worker as load
from helpers.checks import Contract, Facts
from helpers.command.serve import Command


def parsed(command: Command, worker: Any) -> Contract:
    """Put a recipe's own command before the parser of the vLLM that a load client has imported."""
    commands = [{"id": "own", "argv": command.argv[1:], "env": command.env}]
    found, facts = load.parsed(worker, commands)[0]["faults"], Facts()
    for kind, name in (("flag", "flags"), ("variable", "variables")):
        wrong = [f"{fault.get('name')}: {fault['message']}" for fault in found if fault["kind"] == kind]
        facts.need(name, not wrong, "; ".join(wrong))
    return facts.contract("command.parsed", "command")
