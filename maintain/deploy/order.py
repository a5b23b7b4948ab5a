"""What is to be deployed: a recipe with its parameters and command, and the shape around it."""

from dataclasses import dataclass

import yaml

from helpers.recipes import Model, Parameters, Target
from helpers.recipes.command import Command
from helpers.recipes.command.kubernetes import Document


@dataclass(frozen=True)
class Order:
    """One deployment; `command` is the server's own on this machine, `weights` a hub id or a folder."""

    target: Target
    model: Model
    parameters: Parameters
    command: Command
    nodes: int = 1  # hosts of one server
    size: int = 1  # devices of one server
    host_gib: int = 0  # host memory that a fragment takes on each node
    most: int = 0  # copies that may be started under load; 0: as many as `parameters.replicas`
    sidecars: bool = False  # tool servers in each server's own pod, not in one of their own

    @property
    def name(self) -> str:
        return f"{self.model.model}-{self.target.target}".replace("_", "-").lower()

    @property
    def copies(self) -> range:
        """The fewest and the most copies of the server."""
        return range(self.parameters.replicas, max(self.most, self.parameters.replicas) + 1)


class _Plain(yaml.SafeDumper):
    """YAML without anchors; text of several lines stands as it is."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_Plain.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def dumped(*documents: Document) -> str:
    """Documents as YAML."""
    return "---\n".join(yaml.dump(one, Dumper=_Plain, sort_keys=False, width=1000) for one in documents)
