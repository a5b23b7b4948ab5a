"""recipe + model + parameters -> the Command of one vLLM server; it becomes words only at the edge."""

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from helpers.recipes import Block, Model, Parameters, Target
from helpers.recipes.block import serve_block

SPECULATION = "--speculative-config"
Flags = dict[str, tuple[str, ...]]  # an option as vLLM spells it, with the words of its value


def vllm(interpreter: Path | str) -> list[str]:
    """The words that stand for `vllm` with an interpreter that holds it, whatever lies on the PATH."""
    return [str(interpreter), "-m", "vllm.entrypoints.cli.main"]


def flags_of(words: Iterable[str]) -> Flags:
    """Command-line words as options with their values.

    >>> flags_of(["--stream-interval", "20", "--enforce-eager"])
    {'--stream-interval': ('20',), '--enforce-eager': ()}
    """
    flags: Flags = {}
    for word in words:
        if word.startswith("--"):
            last = word
            flags[last] = ()
        else:
            flags[last] += (word,)
    return flags


@dataclass(frozen=True)
class Command:
    """How one server is started; `env` holds only what is added to the environment, never a key."""

    weights: str  # a hub id or the folder of a checkpoint
    model: str  # the name that it is served under
    port: int
    flags: Flags = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    target: str = ""
    settings: Block = field(repr=False, default_factory=Block)  # each flag's reason and source

    @property
    def options(self) -> Flags:
        """Every option with its value: the port and the served name before the flags."""
        return {"--port": (str(self.port),), "--served-model-name": (self.model,), **self.flags}

    @property
    def words(self) -> list[str]:
        """`serve` and all that follows: what vLLM's own parser takes."""
        return ["serve", self.weights, *(word for flag, value in self.options.items() for word in (flag, *value))]

    @property
    def argv(self) -> list[str]:
        """The command as a person types it."""
        return ["vllm", *self.words]

    def run_by(self, interpreter: Path | str) -> list[str]:
        """The command as a process is started with an interpreter that holds vLLM."""
        return [*vllm(interpreter), *self.words]

    def lines(self) -> list[str]:
        """The command as shell-quoted lines, an option with its value on each."""
        options = [shlex.join([flag, *value]) for flag, value in self.options.items()]
        return [shlex.join(["vllm", "serve", self.weights]), *options]

    def shell(self) -> str:
        """The command as a block for a terminal: exports, then `vllm serve` with one option per line."""
        exports = [f"export {name}={shlex.quote(value)}" for name, value in self.env.items()]
        return "\n".join([*exports, " \\\n    ".join(self.lines())])

    def on_port(self, port: int) -> "Command":
        """The same server on another port."""
        return replace(self, port=port)

    def changed(self, flags: Mapping[str, tuple[str, ...]], env: Mapping[str, str] | None = None) -> "Command":
        """The command with flags and variables laid over its own."""
        return replace(self, flags={**self.flags, **flags}, env=self.env | dict(env or {}))

    def drafting(self, head: str, tokens_per_step: float | None = None) -> "Command":
        """The command with a head (a hub id or a folder) that drafts, where it speculates; without speculation for "".

        `tokens_per_step` is for a random head: vLLM then lets as many tokens a step count, whatever it drafts.
        """
        flags = dict(self.flags)
        if SPECULATION in flags and not head:
            del flags[SPECULATION]
        elif SPECULATION in flags:
            settings = json.loads(flags[SPECULATION][0]) | {"model": head}
            if tokens_per_step:
                settings |= {"rejection_sample_method": "synthetic", "synthetic_acceptance_length": tokens_per_step}
            flags[SPECULATION] = (json.dumps(settings, separators=(",", ":")),)
        return replace(self, flags=flags)

    def with_tools(self, addresses: str, env: Mapping[str, str]) -> "Command":
        """The command told where the tool servers listen (`HOST:PORT`, several with commas)."""
        return self.changed({"--tool-server": (addresses,)}, env)


def serve_command(target: Target, model: Model, parameters: Parameters, weights: str, port: int) -> Command:
    """`vllm serve` for `weights` (a hub id or a checkpoint folder) on `port` of loopback.

    An API key never appears here: the server and its clients read VLLM_API_KEY from the environment.
    """
    block = serve_block(target, model, parameters)
    command = Command(weights, model.model, port, *flags_and_env(block), target.target, block)
    return command.drafting(model.draft.hub_id if model.draft else "")


def flags_and_env(block: Block) -> tuple[Flags, dict[str, str]]:
    """The settings of a recipe's block as flags and as variables."""
    flags = flags_of(word for flag, setting in block.args.items() for word in setting.words(flag))
    return flags, {name: setting.variable() for name, setting in block.env.items()}


def bare_command(weights: str, model: str, port: int, tensor_parallel_size: int = 1, target: str = "") -> Command:
    """`vllm serve` as it comes, with what makes it reachable on loopback: what a recipe has to beat."""
    flags: Flags = {"--host": ("127.0.0.1",)}
    if tensor_parallel_size > 1:
        flags["--tensor-parallel-size"] = (str(tensor_parallel_size),)
    return Command(weights, model, port, flags, target=target)
