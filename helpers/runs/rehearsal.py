"""What a rehearsal checks in place of the launch that this machine cannot do."""

from typing import Any

from helpers.checks import Contract, Facts
from helpers.command.serve import Command


def parsed(command: Command, worker: Any) -> Contract:
    """Put a recipe's own command before the parser of the vLLM that a load client has imported."""
    request = {"commands": [{"id": "own", "argv": command.argv[1:], "env": command.env}]}
    *_, last = worker.events(request)
    nothing = [{"faults": [{"kind": "flag", "message": str(last)}]}]  # the client failed: that is a fault, too
    found, facts = last.get("answers", nothing)[0]["faults"], Facts()
    for kind, name in (("flag", "flags"), ("variable", "variables")):
        wrong = [f"{fault.get('name')}: {fault['message']}" for fault in found if fault["kind"] == kind]
        facts.need(name, not wrong, "; ".join(wrong))
    return facts.contract("command.parsed", "command")
