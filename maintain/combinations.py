"""Every command that the recipes can render: target x model x tensor-parallel size x profile x activations."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from helpers import paths
from helpers.recipes import (
    NANO,
    Parameters,
    Target,
    check_parameters,
    load_common,
    load_model,
    load_target,
    target_names,
)
from helpers.recipes.command import Command, serve_command
from helpers.recipes.parameters import unusable


@dataclass(frozen=True)
class Combination:
    """One rendered command and what it was rendered from."""

    target: Target
    parameters: Parameters
    command: Command

    @property
    def id(self) -> str:
        """target/model/tpN/profile/activations/replicas, unique."""
        p = self.parameters
        return f"{self.target.target}/{p.model}/tp{p.tensor_parallel_size}/{p.profile}/{p.activations}/x{p.replicas}"

    def origin(self, kind: str, name: str) -> str:
        """File and key of the recipe that a flag or variable of this command comes from."""
        section, key = ("args", name.lstrip("-")) if kind == "flag" else ("env", name)
        known = getattr(self.command.settings, section)
        key = key if key in known else key.removeprefix("no-")  # `false` is rendered as --no-NAME
        setting = known.get(key)
        if setting is None:
            return "helpers/recipes/command/serve.py: " + (name or "the command as a whole")
        for where, block in _blocks(self.target):
            if getattr(block, section).get(key) == setting:
                return f"{where}.{section}.{key}"
        return f"{paths.shown(paths.TARGETS / self.target.target)}.yaml: models.{self.parameters.model}"


def combinations(targets: list[str] | None = None) -> Iterator[Combination]:
    """All combinations of the named targets (all targets by default), two replicas included once per size."""
    for name in targets or target_names():
        target = load_target(name)
        profiles, activations = target.serve.profiles, target.serve.activations or ["bf16"]
        for model, sizes in target.models.items():
            for size, profile, choice, replicas in product(sizes.tensor_parallel_size, profiles, activations, (1, 2)):
                if unusable(target, model, size, profile, replicas):
                    continue
                values = {
                    "model": model,
                    "weights": "nano" if model == NANO else "hub",
                    "tensor_parallel_size": size,
                    "profile": profile,
                    "activations": choice,
                    "replicas": replicas,
                }
                yield combination(target, values)


def combination(target: Target, values: dict) -> Combination:
    """The combination that these parameter values give on a target."""
    parameters = check_parameters(target, values)
    model = load_model(parameters.model)
    weights = model.hub_id or model.model
    return Combination(target, parameters, serve_command(target, model, parameters, weights, 8000))


def _blocks(target: Target):
    """Every block of flags a command can take from, the special before the general, with file and key."""
    file, serve = f"{paths.shown(paths.TARGETS / target.target)}.yaml", target.serve
    for limit in target.known_limits:
        yield f"{file}: known_limits.{limit.id}.avoid", limit.avoid
    for model, block in serve.per_model.items():
        for profile, own in block.profiles.items():
            yield f"{file}: serve.per_model.{model}.profiles.{profile}", own
        for size, own in block.per_tp.items():
            yield f"{file}: serve.per_model.{model}.per_tp.{size}", own
        yield f"{file}: serve.per_model.{model}", block
    for size, block in serve.per_tp.items():
        yield f"{file}: serve.per_tp.{size}", block
    for choice, block in serve.activations.items():
        yield f"{file}: serve.activations.{choice}", block
    for profile, block in serve.profiles.items():
        yield f"{file}: serve.profiles.{profile}", block
    yield f"{file}: serve", serve
    yield f"{paths.shown(paths.RECIPES / 'common.yaml')}", load_common()
