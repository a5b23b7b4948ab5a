"""recipe + model + parameters -> the argv and environment of one vLLM server."""

import shlex
from dataclasses import dataclass, field

from helpers.recipes import Block, Model, Parameters, Target
from helpers.recipes.block import serve_block


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
    argv = ["vllm", "serve", weights, "--port", str(port), "--host", "127.0.0.1", "--served-model-name", model]
    size = ["--tensor-parallel-size", str(tensor_parallel_size)]
    return argv + (size if tensor_parallel_size > 1 else [])
