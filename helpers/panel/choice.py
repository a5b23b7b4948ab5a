"""What a person may choose in the panel, what speaks against the rest, and what follows from a choice; no widgets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from helpers.errors import CookbookError, UsageError
from helpers.paths import CACHE
from helpers.recipes import Parameters, Target, check_parameters, load_model, load_target, model_names
from helpers.recipes.budget import Budget, memory_budget
from helpers.recipes.command import serve_command
from helpers.recipes.command.forms import render
from helpers.recipes.parameters import KINDS
from helpers.recipes.target import Profile
from helpers.server.serving import Serving
from helpers.server.weights import named_weights

FORMS = {"shell": "shell", "docker": "docker", "compose": "compose", "k8s": "Kubernetes"}  # form -> what its tab says
SIZES = (1, 2, 4, 8)  # tensor-parallel sizes and replicas that any recipe offers
OFFERED: dict[str, list[Any]] = {  # every value that any recipe knows for a parameter
    "model": [name for name in model_names() if load_model(name).runner == "generate"],
    "weights": [*KINDS],
    "tensor_parallel_size": [*SIZES],
    "replicas": [*SIZES],
    "profile": [*get_args(Profile)],
    "activations": ["bf16", "mxfp8"],
}


@dataclass(frozen=True)
class Choice:
    """What a choice comes to: its checked parameters, the budget of one device, the command in every form."""

    target: Target
    parameters: Parameters
    budget: Budget
    forms: dict[str, str]  # a key of FORMS -> text to paste
    note: str = ""  # what has to be written before the command can be pasted


def offers(target: Target, chosen: Mapping[str, Any], name: str, memory_gib: float | None = None) -> dict[Any, str]:
    """The values of one picker beside what the others have chosen -> the reason against it, "" where there is none.

    Another model starts at its own size, weights and profile: those pickers follow it.
    """
    rest = {} if name == "model" else chosen
    return {value: against(target, {**rest, name: value}, memory_gib) for value in OFFERED[name]}


def against(target: Target, given: Mapping[str, Any], memory_gib: float | None = None) -> str:
    """Why these values cannot be served on the target, "" where they can: the recipe's word, then the memory's."""
    try:
        parameters = check_parameters(target, given)
        budget = memory_budget(target, load_model(parameters.model), parameters, memory_gib)
    except CookbookError as error:
        return error.what.split("; ", 1)[-1]  # what is allowed; what was given is on the button
    short = budget.start - budget.kv_cache
    return f"one request of {budget.max_model_len:,} tokens lacks {short:.1f} GiB per device" if short > 0 else ""


def settled(target: Target, chosen: Mapping[str, Any], memory_gib: float | None = None) -> dict[str, Any]:
    """The choice with every value that no longer goes replaced by the recipe's own, the model first."""
    kept: dict[str, Any] = {}
    for name in [name for name in OFFERED if name in chosen]:
        kept |= {} if against(target, {**kept, name: chosen[name]}, memory_gib) else {name: chosen[name]}
    parameters = check_parameters(target, kept)
    return {name: getattr(parameters, name) for name in OFFERED}


def choice(name: str, chosen: Mapping[str, Any], port: int = 8000, memory_gib: float | None = None) -> Choice:
    """What a choice on a target comes to. Raises `UsageError` as a notebook would."""
    target = load_target(name)
    parameters = check_parameters(target, {**chosen, "port": port})
    model, note = load_model(parameters.model), ""
    try:
        weights = named_weights(Serving(target, parameters, model), CACHE / "models")
    except UsageError as error:
        weights = model.hub_id or model.model
        note = f"{error.what}: Launch makes them; for the command alone, {error.do}"
    command = serve_command(target, model, parameters, weights, port)
    forms = {form: render(form, target, model, parameters, command) for form in FORMS}
    return Choice(target, parameters, memory_budget(target, model, parameters, memory_gib), forms, note)
