"""Parts that extend a recipe: recipes/fragments.yaml laid over a command, and what they cost in memory."""

import shlex
from dataclasses import replace
from functools import cache
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from helpers.errors import UsageError
from helpers.paths import RECIPES
from helpers.recipes import Model, Parameters, Setting, Target
from helpers.recipes.budget import GIB, memory_budget
from helpers.recipes.command import Command
from helpers.recipes.command.replicas import CARE, replica_commands
from helpers.recipes.command.serve import Flags
from helpers.recipes.files import Loader

FILE = RECIPES / "fragments.yaml"
SIDE_CHANNEL = 5600  # vllm 0.32.0 envs.py VLLM_NIXL_SIDE_CHANNEL_PORT; two servers on one host need two
HOST_GIB = 100  # of host memory for each GPU: what NVIDIA Dynamo's recipe for eight H200 gives


class Fragment(BaseModel):
    """One part: its flags, what gpt-oss makes of it, where it cannot run, what others measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    for_: str = Field(alias="for")
    args: dict[str, bool | int | str]
    drop: list[str] = []  # flags of the recipe that contradict it
    constraint: str
    source: str
    cpu: str  # why it is not run on the CPU, or how far
    measured: list[str] = Field(min_length=1)

    @property
    def paired(self) -> bool:
        """Whether it takes two servers with a role each, so that one alone cannot have it."""
        return any("ROLE" in str(value) for value in self.args.values())

    def flags(self, host_gib: int, role: str = "") -> Flags:
        """Its flags as vLLM spells them."""
        words: Flags = {}
        for name, value in self.args.items():
            text = value
            if isinstance(value, str):
                text = value.replace("HOST_BYTES", str(host_gib * GIB)).replace("ROLE", role)
            first, *rest = Setting(value=text, why=self.title, source=self.source).words(name)
            words[first] = tuple(rest)
        return words


@cache
def fragments() -> dict[str, Fragment]:
    """Name -> fragment, in the file's order."""
    content: dict[str, Any] = yaml.load(FILE.read_text(encoding="utf-8"), Loader)
    return {name: Fragment.model_validate(one) for name, one in content.items()}


def extended(command: Command, names: list[str], host_gib: int = HOST_GIB) -> Command:
    """A command with fragments laid over it, in the order given; `UsageError` for a name that nobody knows."""
    for name in names:
        one = fragments().get(name)
        if one is None or one.paired:
            known = ", ".join(name for name, one in fragments().items() if not one.paired)
            raise UsageError(f"{name!r} is no fragment of a server", do=f"choose of {known}")
        kept = {flag: value for flag, value in command.flags.items() if flag.lstrip("-") not in one.drop}
        command = replace(command, flags=kept).changed(one.flags(host_gib))
    return command


def long_requests(target: Target, model: Model, parameters: Parameters, tokens: int) -> tuple[float, int]:
    """(GiB of KV cache on one device for a request of so many tokens, requests of it that fit at once).

    >>> from helpers.recipes import check_parameters, load_model, load_target
    >>> h200 = load_target("h200")
    >>> gib, count = long_requests(h200, load_model("gpt-oss-120b"), check_parameters(h200, {"model": "gpt-oss-120b"}), 131_072)
    >>> f"{gib:.1f}", count > 10
    ('4.5', True)
    """
    asked = {"input_tokens": tokens - 1, "output_tokens": 1, "concurrency": [1]}
    budget = memory_budget(target, model, parameters.model_copy(update=asked))
    return budget.load, budget.fullest_concurrency


def offloaded_tokens(target: Target, model: Model, parameters: Parameters, host_gib: int) -> int:
    """Tokens of long prompts that the host memory of one device holds, counted for the layers with full attention."""
    gib, _ = long_requests(target, model, parameters, 131_072)
    return int(host_gib / gib * 131_072)


def server_script(command: Command, title: str) -> str:
    """A script that serves, with what stands in its first line."""
    lines = command.shell().replace("\nvllm serve", "\nexec vllm serve", 1)
    return f"#!/usr/bin/env bash\n# {title}\nset -euo pipefail\n{lines}\n"


def disaggregated(command: Command, target: Target, parameters: Parameters) -> dict[str, str]:
    """File name -> text: a server for prompts, one for answers, the router that sends each request through both."""
    if target.match.vendor == "cpu":
        why = fragments()["disaggregated"].cpu
        raise UsageError("prefill and decode cannot be parted on a CPU", why=why, do="name a GPU target")
    two = parameters.model_copy(update={"replicas": 2})
    ports = (command.port, command.port + 1)
    texts = {}
    for number, own in enumerate(replica_commands(command, target, two, ports)):
        name, role = (("prefill", "kv_producer"), ("decode", "kv_consumer"))[number]
        flags = fragments()["disaggregated"].flags(0, role)
        side = {"VLLM_NIXL_SIDE_CHANNEL_PORT": str(SIDE_CHANNEL + number)}
        texts[f"{name}.sh"] = server_script(own.changed(flags, side), f"{name}; needs `pip install nixl`")
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    router = ["vllm-router", "--host", "127.0.0.1", "--port", str(ports[1] + 1), "--vllm-pd-disaggregation"]
    router += ["--prefill", urls[0], "--decode", urls[1], "--prometheus-host", "127.0.0.1", *CARE]
    texts["router.sh"] = (
        "#!/usr/bin/env bash\n# one address for both\nset -euo pipefail\nexec " + shlex.join(router) + "\n"
    )
    return texts
