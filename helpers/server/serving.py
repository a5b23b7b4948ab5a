"""What a run really launches: the recipe itself, or something in its place that can be had here."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.paths import shown
from helpers.recipes import Model, Parameters, Target, check_parameters, load_model, load_target
from helpers.recipes.command.replicas import on_port, router_words, visible
from helpers.recipes.command.serve import Command, serve_command
from helpers.server import Replicas, Report, Server, free_port, launch, launch_replicas, print_phase

NANO = "gpt-oss-nano"
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
        return "nano" if self.model.model == NANO and not self._given_path else self.parameters.weights_kind

    @property
    def _given_path(self) -> bool:
        return self.parameters.weights_kind == "path"

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
        if self.model.model == recipe.model:
            return command
        argv = [self.model.model if word == recipe.model else word for word in command.argv]
        return replace(command, argv=argv, model=self.model.model)


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


def recorded_parameters(parameters: Parameters, measured: Serving) -> dict:
    """A run's parameters as its record states them: a rehearsal's sweep is its own, whatever was asked for."""
    own = {name: getattr(measured.parameters, name) for name in REHEARSED_SWEEP} if parameters.rehearse else {}
    return parameters.model_dump(mode="json") | own


def start_serving(
    serving: Serving,
    checkpoint: str,
    interpreter: Path,
    port: int,
    log: Path,
    *,
    target: str,
    kept: bool = False,
    report: Report = print_phase,
) -> Server | Replicas:
    """Launch what a serving stands for with the stack's `interpreter`, or attach to what runs so already.

    One server on `port`, or `replicas` of it on ports of their own, each on its own devices, behind a router
    on `port`. `target` is what the lease names.
    """
    about = {
        "log": log,
        "target": target,
        "model": serving.model.model,
        "kept": kept,
        "report": report,
        "checkpoint": Path(checkpoint) if os.path.isdir(checkpoint) else None,
    }
    recipe, parameters = serving.target, serving.parameters
    command = serving.command(checkpoint, port)

    def argv(own: Command) -> list[str]:
        return [str(interpreter), "-m", "vllm.entrypoints.cli.main", *own.argv[1:]]

    if parameters.replicas == 1:
        return launch(argv(command), command.env, port=port, **about)
    commands = []
    for replica in range(parameters.replicas):
        own = on_port(command, free_port())
        commands.append((argv(own), own.env | visible(recipe, parameters, replica), own.port))
    return launch_replicas(commands, lambda ports, metrics: router_words(ports, port, metrics), port=port, **about)
