"""recipes/stacks.yaml: the serving environments that come from a wheel index and not from a lock."""

from typing import Annotated, Literal

from pydantic import Field, RootModel

from helpers import paths
from helpers.recipes.files import load_file
from helpers.recipes.settings import Strict, Text

FILE = paths.RECIPES / "stacks.yaml"


class IndexedStack(Strict):
    """Which requirement to install from which indexes, with which Python, and how to see that it worked."""

    requirement: Annotated[str, Field(pattern=r"^vllm==[0-9][^ ]*$")]
    python: Annotated[str, Field(pattern=r"^3\.\d+$")]
    indexes: Annotated[list[str], Field(min_length=1)]
    strategy: Literal["first-index", "unsafe-best-match"]
    proof: Annotated[str, Field(pattern=r"^torch\.version\.[a-z]+$")]  # set in a build for this hardware only
    disk_gib: float
    why: Text
    source: Text


class IndexedStacks(RootModel[dict[str, IndexedStack]]):
    """All of them by name."""


def indexed_stacks() -> dict[str, IndexedStack]:
    """The environments of recipes/stacks.yaml by name; `RecipeError` names every fault."""
    return load_file(FILE, IndexedStacks).root
