"""A tuning to be: target, model, objective, space and sweep, and the server command of every configuration."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.bench.sweep import Load, plan
from helpers.bench.tune.objective import Objective
from helpers.errors import UsageError
from helpers.paths import shown
from helpers.recipes import Block, Parameters, Target, check_parameters, load_model, load_target
from helpers.recipes.block import serve_block
from helpers.recipes.command.serve import Command, bare_command, flags_and_env
from helpers.recipes.target import ModelServe
from helpers.recipes.tuning import FILE, Knob, Values, load_space, product
from helpers.server.serving import Serving

GRID = 64  # combinations up to which all are tried; above, the first of the space and then one value at a time


@dataclass(frozen=True)
class Proposal:
    """One configuration as a server command."""

    values: Values
    command: Command
    gpus: int

    def identity(self, checkpoint: Path | None) -> str:
        """Equal for equal servers, whatever values led to them."""
        from helpers.server import fingerprint

        return fingerprint(self.command.on_port(0).words, self.command.env, checkpoint)[:8]


class TuningPlan:
    """What is tuned and how it is measured. Everything that the input can have wrong is said here, before any start.

    `parameters` are a run's (model, weights, tensor_parallel_size, concurrency, input_tokens, output_tokens, install).
    """

    def __init__(
        self,
        target: str,
        objective: str = "throughput",
        tpot_ms: float | None = None,
        parameters: Mapping[str, Any] | None = None,
        space: Path | None = None,
        gpus: int | None = None,
    ):
        self.objective = Objective(objective, tpot_ms)
        self.target = load_target(target)
        given = dict(parameters or {}) | {"profile": self.objective.profile}
        self.parameters: Parameters = check_parameters(self.target, given)
        if self.parameters.rehearse or self.parameters.replicas > 1:
            raise UsageError("a tuning takes neither rehearse nor replicas", do="leave them out")
        self.objective.check(self.parameters.concurrency)
        self.model = load_model(self.parameters.model)
        self.file = Path(space) if space else FILE
        self.space_name, self.space = load_space(target, self.model.model, self.file)
        self.gpus = gpus
        self.left_out: dict[str, str] = {}
        self.knobs = self._effective()
        if not self.knobs:
            raise UsageError(
                f"{self.where} leaves nothing to vary under {objective}", why="; ".join(self.left_out.values())
            )

    @property
    def where(self) -> str:
        return f"{shown(self.file)}: {self.space_name}"

    @property
    def size(self) -> int:
        """How many combinations there are."""
        return len(product(self.knobs))

    @property
    def grid(self) -> bool:
        return self.size <= GRID

    @property
    def defaults(self) -> Values:
        """The first value of every knob, mostly vLLM's own default."""
        return {name: knob.values[0] for name, knob in self.knobs.items()}

    @property
    def candidates(self) -> list[Values]:
        """What is tried, in this order: every combination where there are few.

        Otherwise what the space names to begin with (as far as its knobs are varied here), then vLLM's defaults, then
        each other value alone.
        """
        if self.grid:
            return product(self.knobs)
        defaults = self.defaults
        named = self.space.first.get(self.objective.name, [])
        begun = [defaults | values for values in named if values.keys() <= self.knobs.keys()]
        alone = [defaults | {name: value} for name, knob in self.knobs.items() for value in knob.values[1:]]
        listed = [*begun, defaults, *alone]
        return [values for number, values in enumerate(listed) if values not in listed[:number]]

    def loads(self, gpus: int) -> list[Load]:
        """The sweep of a server on `gpus` GPUs."""
        p = self.parameters
        users = [self.objective.load(one, gpus) for one in p.concurrency]
        return plan(users, p.input_tokens, p.output_tokens)

    def serving(self, values: Values) -> Serving:
        """The recipe with these values in its profile."""
        sizes = {name: value for name, value in values.items() if self.knobs[name].kind == "parameter" and value}
        parameters = self.parameters.model_copy(update=sizes)
        settings = {name: self.knobs[name].setting(value) for name, value in values.items()}
        return Serving(
            tuned(self.target, self.model.model, parameters.profile, self.knobs, settings), parameters, self.model
        )

    def proposal(self, values: Values, checkpoint: str, port: int) -> Proposal:
        """The command of one configuration."""
        serving = self.serving(values)
        return Proposal(values, serving.command(checkpoint, port), serving.parameters.tensor_parallel_size)

    def bare(self, checkpoint: str, port: int) -> Proposal:
        """Bare `vllm serve` on the same weights, with what the space says that it needs on this machine."""
        size = self.parameters.tensor_parallel_size
        weights = self.serving({}).command(checkpoint, port).weights
        command = bare_command(weights, self.model.model, port, size, self.target.target)
        return Proposal({}, command.changed(*flags_and_env(self.space.baseline)), size)

    def single_values(self) -> list[tuple[str, Any]]:
        """Every value of every knob once: what a parser must take."""
        return [(name, value) for name, knob in self.knobs.items() for value in knob.values]

    def _effective(self) -> dict[str, Knob]:
        """The knobs that can make a difference here; the others are named in `left_out`."""
        self.knobs = found = dict(self.space.under(self.objective.name))
        for name, knob in list(found.items()):
            if knob.kind == "parameter":
                values = [value for value in knob.values if self._offered(value)]
                if len(values) < 2:
                    self.left_out[name] = f"{name}: {self.gpus or 1} GPU(s) and the recipe leave one value"
                    del found[name]
                else:
                    found[name] = knob.model_copy(update={"values": values})
                continue
            seen = set()
            for value in knob.values:
                serving = self.serving({name: value})
                block = serve_block(serving.target, self.model, serving.parameters)
                setting = (block.args if knob.kind == "flag" else block.env).get(name)
                seen.add(json.dumps(setting.value if setting else None))
            if len(seen) < 2:
                self.left_out[name] = f"{name}: the recipe sets it for this model whatever its profile says"
                del found[name]
        return found

    def _offered(self, size: int) -> bool:
        sizes = self.target.models[self.model.model].tensor_parallel_size
        return size in sizes and (self.gpus is None or size <= max(self.gpus, 1))

    def document(self) -> dict[str, Any]:
        """What a study has to have in common with this plan to go on."""
        p = self.parameters
        return {
            "target": self.target.target,
            "model": self.model.model,
            "weights": self.serving({}).weights,
            "tensor_parallel_size": p.tensor_parallel_size,
            "objective": self.objective.name,
            "tpot_ms": self.objective.tpot_ms,
            "space": self.space_name,
            "knobs": {name: list(knob.values) for name, knob in self.knobs.items()},
            "users_per_gpu": list(dict.fromkeys(p.concurrency)),
            "input_tokens": p.input_tokens,
            "output_tokens": p.output_tokens,
        }


def tuned(target: Target, model: str, profile: str, knobs: Mapping[str, Knob], settings: Mapping[str, Any]) -> Target:
    """The recipe with settings laid into one model's own block of a profile."""
    own = target.serve.per_model.get(model, ModelServe())
    before = own.profiles.get(profile, Block())
    args = {name: setting for name, setting in settings.items() if knobs[name].kind == "flag"}
    env = {name: setting for name, setting in settings.items() if knobs[name].kind == "variable"}
    block = Block(args={**before.args, **args}, env={**before.env, **env})
    own = own.model_copy(update={"profiles": {**own.profiles, profile: block}})
    serve = target.serve.model_copy(update={"per_model": {**target.serve.per_model, model: own}})
    return target.model_copy(update={"serve": serve})


def digest(document: Mapping[str, Any]) -> str:
    """Equal for equal documents."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()[:12]


def label(values: Values) -> str:
    """A configuration on one line.

    >>> label({"max-num-seqs": 2, "stream-interval": None})
    'max-num-seqs 2, stream-interval default'
    """
    words = [
        f"{name} {'default' if value is None else json.dumps(value).strip(chr(34))}" for name, value in values.items()
    ]
    return ", ".join(words) or "bare vllm serve"


def changed(values: Values) -> str:
    """What a configuration sets, vLLM's defaults and one GPU left out.

    >>> changed({"max-num-seqs": 2, "stream-interval": None, "tensor_parallel_size": 1})
    'max-num-seqs 2'
    """
    kept = {n: value for n, value in values.items() if value is not None and (n, value) != ("tensor_parallel_size", 1)}
    return label(kept) if kept else "vLLM's defaults"
