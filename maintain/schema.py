"""JSON Schema of the recipe files, for editors: `python -m maintain.schema` writes recipes/schema/."""

import json
from pathlib import Path

from helpers import paths
from helpers.files import write_whole
from helpers.recipes.model import Model
from helpers.recipes.settings import Block
from helpers.recipes.stacks import IndexedStacks
from helpers.recipes.target import Target
from helpers.recipes.tuning import Spaces

FOLDER = paths.RECIPES / "schema"
SHAPES = {"target": Target, "model": Model, "common": Block, "stacks": IndexedStacks, "tuning": Spaces}


def schemas() -> dict[str, str]:
    """The schema of each kind of recipe file as text, by the name of the kind."""
    return {
        name: json.dumps(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **shape.model_json_schema()}, indent=2
        )
        + "\n"
        for name, shape in SHAPES.items()
    }


def drift(folder: Path = FOLDER) -> list[str]:
    """The schema files that are not what the code gives."""
    wanted = {folder / f"{name}.json": text for name, text in schemas().items()}
    return [path.name for path, text in wanted.items() if not path.exists() or path.read_text() != text]


def write(folder: Path = FOLDER) -> None:
    """Write every schema file anew."""
    for name, text in schemas().items():
        write_whole(folder / f"{name}.json", text)


if __name__ == "__main__":
    write()
