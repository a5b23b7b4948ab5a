"""recipe + model + parameters -> the argv and environment of one vLLM server."""

import shlex
from dataclasses import dataclass, field

from helpers.recipes import Block, Model, Parameters, Setting, Target, load_common


@dataclass(frozen=True)
class Command:
    """How one server is started; `env` holds only what the recipe adds to the environment."""

    argv: list[str]
    env: dict[str, str]
    target: str
    model: str
    weights: str
    port: int
    settings: Block = field(repr=False, default_factory=Block)  # each flag's reason and source

    def shell(self) -> str:
        """The command as a block for a terminal: exports, then `vllm serve` with one flag per line."""
        exports = [f"export {name}={shlex.quote(value)}" for name, value in self.env.items()]
        return "\n".join([*exports, " \\\n    ".join(self.lines())])

    def lines(self) -> list[str]:
        """The argv grouped into shell-quoted lines, a flag with its values on each."""
        groups: list[list[str]] = [self.argv[:3]]
        for word in self.argv[3:]:
            if word.startswith("--"):
                groups.append([])
            groups[-1].append(word)
        return [shlex.join(group) for group in groups]


def serve_block(target: Target, model: Model, parameters: Parameters) -> Block:
    """All flags and variables with their reasons, from the general to the special; known limits win."""
    serve, name, size = target.serve, model.model, parameters.tensor_parallel_size
    layers = [Block(args=serve.args, env=serve.env), serve.profiles[parameters.profile]]
    if parameters.activations in serve.activations:
        choice = serve.activations[parameters.activations]
        layers.append(Block(args=choice.args, env=choice.env))
    layers.append(serve.per_tp.get(size, Block()))
    if name in serve.per_model:
        own = serve.per_model[name]
        layers += [Block(args=own.args, env=own.env), own.per_tp.get(size, Block())]
        layers.append(own.profiles.get(parameters.profile, Block()))
    layers.append(_sizes(target, model, parameters))
    layers += [limit.avoid for limit in target.limits(name, size, parameters.profile, parameters.replicas)]
    return load_common().merged(*layers)


def serve_command(target: Target, model: Model, parameters: Parameters, weights: str, port: int) -> Command:
    """`vllm serve` for `weights` (a hub id or a checkpoint folder) on `port` of loopback.

    An API key never appears here: the server and its clients read VLLM_API_KEY from the environment.
    """
    block = serve_block(target, model, parameters)
    argv = ["vllm", "serve", weights, "--port", str(port), "--served-model-name", model.model]
    for flag, setting in block.args.items():
        argv += setting.words(flag)
    env = {name: setting.variable() for name, setting in block.env.items()}
    return Command(argv, env, target.target, model.model, weights, port, block)


def bare_argv(weights: str, model: str, port: int, tensor_parallel_size: int = 1) -> list[str]:
    """`vllm serve` as it comes, with what makes it reachable on loopback: what a recipe has to beat."""
    argv = [
        "vllm",
        "serve",
        weights,
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
        "--served-model-name",
        model,
    ]
    size = ["--tensor-parallel-size", str(tensor_parallel_size)]
    return argv + (size if tensor_parallel_size > 1 else [])


def _sizes(target: Target, model: Model, parameters: Parameters) -> Block:
    """The flags that follow from the chosen sizes and not from a reason of their own."""
    source = f"recipes/targets/{target.target}.yaml models.{model.model}"
    sizes, args = target.models[model.model], {}
    if parameters.tensor_parallel_size > 1:
        args["tensor-parallel-size"] = Setting(
            value=parameters.tensor_parallel_size, why="the parameter tensor_parallel_size", source=source
        )
    if sizes.max_model_len is not None:
        args["max-model-len"] = Setting(
            value=sizes.max_model_len, why="the longest context that the memory budget allows", source=source
        )
    return Block(args=args)
