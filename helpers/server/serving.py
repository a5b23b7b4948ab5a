"""What a run really launches: the recipe itself, or something in its place that can be had here."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helpers.logs import backends, memory
from helpers.paths import shown
from helpers.processes import free_port
from helpers.recipes import NANO, Model, Parameters, Target, check_parameters, load_model, load_target
from helpers.recipes.block import serve_block
from helpers.recipes.command.replicas import replica_commands
from helpers.recipes.command.serve import SPECULATION, Command, serve_command
from helpers.server.replicas import VLLM, Replicas

# A rehearsal's sweep shows that the cells work; its figures are nobody's.
REHEARSED_SWEEP = {"concurrency": [1, 2], "input_tokens": 32, "output_tokens": 16}


@dataclass(frozen=True, eq=False)
class Serving:
    """A server to be: the recipe and parameters whose flags it gets, and the model whose weights it loads.

    `model` differs from the parameters' model where gpt-oss-nano stands in for weights that cannot speak.
    """

    target: Target
    parameters: Parameters
    model: Model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Serving) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, str, str]:
        return self.target.target, self.parameters.model_dump_json(), self.model.model

    @property
    def weights(self) -> str:
        """hub, synthetic, nano or path: what is loaded, as a record names it."""
        return (
            "nano"
            if self.model.model == NANO and self.parameters.weights_kind != "path"
            else self.parameters.weights_kind
        )

    @property
    def form(self) -> str:
        """The form of gpt-oss-nano that this machine's kernels load: MXFP4 on GPUs, BF16 on any CPU."""
        return nano_form(self.target)

    def command(self, checkpoint: str, port: int) -> Command:
        """The command for a checkpoint (a folder is named relative to the checkout, where the server starts)."""
        recipe = load_model(self.parameters.model)
        found = checkpoint or recipe.hub_id or recipe.model
        weights = shown(Path(found)) if os.path.isabs(found) else found
        command = serve_command(self.target, recipe, self.parameters, weights, port)
        if self.model.model == NANO:
            command = command.drafting("")  # nobody trained a head for it
        elif self.weights == "synthetic" and checkpoint and recipe.draft:
            command = command.drafting(draft_folder(weights), recipe.draft.tokens_per_step)
        return replace(command, model=self.model.model)

    @property
    def speculates(self) -> bool:
        """Whether a draft head proposes tokens."""
        return SPECULATION in self.command("", 0).flags

    def draft_note(self) -> str:
        """What drafts for this server, where its profile speculates; after a line about its weights."""
        recipe = load_model(self.parameters.model)
        draft = recipe.draft
        if SPECULATION.removeprefix("--") not in serve_block(self.target, recipe, self.parameters).args:
            return ""
        if not self.speculates or draft is None:
            return "; no head drafts for it, so it is served without speculation"
        if self.weights == "synthetic":
            return f"; a random head drafts, {draft.tokens_per_step} tokens a step are set ({draft.source})"
        return f"; {draft.hub_id} drafts"

    def replicas(self, command: Command) -> list[Command]:
        """What is really launched: the command itself, or one for each replica on a free port and its own devices."""
        if self.parameters.replicas == 1:
            return [command]
        ports = [free_port() for _ in range(self.parameters.replicas)]
        return replica_commands(command, self.target, self.parameters, ports)


def draft_folder(weights: str) -> str:
    """Where the random head of a synthetic checkpoint lies: beside it."""
    return f"{weights}-eagle3"


def nano_form(target: Target) -> str:
    """The form of gpt-oss-nano that a target's kernels load."""
    return "bf16" if target.match.vendor == "cpu" else "mxfp4"


def servings(target: Target, model: Model, parameters: Parameters) -> tuple[Serving, Serving]:
    """(the server that answers the contracts, the server that is measured); mostly one and the same."""
    if parameters.rehearse:
        cpu = load_target("cpu")
        given = {"port": parameters.port, "keep_server": parameters.keep_server, **REHEARSED_SWEEP}
        own = check_parameters(cpu, given)
        rehearsed = Serving(cpu, own, load_model(own.model))
        return rehearsed, rehearsed
    recipe = Serving(target, parameters, model)
    if parameters.weights_kind == "synthetic":
        return Serving(target, parameters, load_model(NANO)), recipe
    return recipe, recipe


def recorded_parameters(parameters: Parameters, measured: Serving) -> dict[str, Any]:
    """A run's parameters as its record states them: a rehearsal's sweep is its own, whatever was asked for."""
    own = {name: getattr(measured.parameters, name) for name in REHEARSED_SWEEP} if parameters.rehearse else {}
    return parameters.model_dump(mode="json") | own


def recorded_server(commands: Sequence[Command], server: VLLM | Replicas | None, log: Path) -> dict[str, Any]:
    """The fields of a run's record that follow from its server: the commands that ran, start, memory and backends.

    `argv` and `env` are the first replica's; with replicas `servers` holds all of them, the router's last. Paths of
    this checkout are shown relative to it: a record may be published. `server` is None where it did not start.
    """
    ran = [{"argv": public(command.argv), "env": command.env} for command in commands]
    known = {"memory": memory(log), "backends": backends(log)} if server and log.exists() else {}
    if len(ran) > 1:
        router = [{"argv": public(server.router.lease.argv)}] if isinstance(server, Replicas) else []
        known["servers"] = [*ran, *router]
    first = ran[0] if ran else {"argv": [], "env": {}}
    return {**first, **known, "startup_s": server.startup_s if server else {}}


def public(argv: Sequence[str]) -> list[str]:
    """The words with paths of this checkout relative to it."""
    return [shown(Path(word)) if word.startswith("/") else word for word in argv]
