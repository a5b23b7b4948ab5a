"""Recipe files read into typed data: every fault of a file is reported at once, with file and key."""

from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from helpers import paths
from helpers.errors import CookbookError, UsageError
from helpers.recipes.model import Model
from helpers.recipes.settings import Block
from helpers.recipes.target import Target

Recipe = TypeVar("Recipe", bound=BaseModel)
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RecipeError(CookbookError):
    """A recipe file that is not valid; `faults` holds one line per fault, each naming file and key."""

    def __init__(self, faults: list[str]):
        self.faults = faults
        count = f"{len(faults)} faults" if len(faults) > 1 else "1 fault"
        super().__init__(f"the recipes have {count}: " + " | ".join(faults), do="correct the named keys")


def target_names() -> list[str]:
    """The names of all targets, cpu first."""
    names = (path.stem for path in paths.TARGETS.glob("*.yaml"))
    return sorted(names, key=lambda name: (name != "cpu", name))


def model_names() -> list[str]:
    """The names of all models."""
    return sorted(path.stem for path in paths.MODELS.glob("*.yaml"))


def load_target(name: str) -> Target:
    """The recipe of a target; `UsageError` for an unknown name, `RecipeError` for a faulty file."""
    return _load(paths.TARGETS / f"{_known('target', name, target_names())}.yaml", Target)


def load_model(name: str) -> Model:
    """The recipe of a model; `UsageError` for an unknown name, `RecipeError` for a faulty file."""
    return _load(paths.MODELS / f"{_known('model', name, model_names())}.yaml", Model)


def load_common() -> Block:
    """The flags and variables that every target's server gets."""
    return _load(paths.RECIPES / "common.yaml", Block)


def _known(kind: str, name: str, names: list[str]) -> str:
    if name not in names:
        raise UsageError(f"unknown {kind} {name!r}", do=f"choose one of {', '.join(names) or '(none found)'}")
    return name


def _load(path: Path, shape: type[Recipe]) -> Recipe:
    return cast(Recipe, _parsed(path, path.stat().st_mtime_ns, shape))


@cache
def _parsed(path: Path, _modified: int, shape: type[Recipe]) -> Recipe:
    return load_file(path, shape)


def load_file(path: Path, shape: type[Recipe]) -> Recipe:
    """The file as `shape`; `RecipeError` names every fault with its key."""
    recipe, faults = check_file(path, shape)
    if recipe is None:
        raise RecipeError(faults)
    return recipe


def check_file(path: Path, shape: type[Recipe]) -> tuple[Recipe | None, list[str]]:
    """The file as `shape`, or None and its faults as lines `file: key: what is wrong`."""
    where = paths.shown(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return None, [f"{where}: not YAML: {' '.join(str(error).split())}"]
    if not isinstance(content, dict):
        return None, [f"{where}: holds {type(content).__name__}, a mapping of keys is needed"]
    try:
        recipe = shape.model_validate(content)
    except ValidationError as error:
        return None, [f"{where}: {fault}" for fault in validation_faults(error)]
    key = shape.__name__.lower()
    own_name = getattr(recipe, key, path.stem)
    if own_name != path.stem:
        return None, [f"{where}: {key}: is {own_name!r}, the file's name says {path.stem!r}"]
    return recipe, []


def validation_faults(error: ValidationError) -> list[str]:
    """One line per fault, `key: what is wrong`, without pydantic's links; union branches are folded."""
    faults: dict[str, Any] = {}
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"] if not _is_branch(str(part)))
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "unknown key"
        elif item["type"] == "missing":
            message = "missing"
        elif not isinstance(item["input"], dict | list):
            message += f" (given {item['input']!r})"
        faults.setdefault(key or "(whole file)", message)
    return [f"{key}: {message}" for key, message in faults.items()]


def _is_branch(part: str) -> bool:
    """Whether a part of a location names a branch of a union or a validator, not a key of the file."""
    return part in {"bool", "int", "float", "str", "[key]"} or part.startswith(("list[", "dict[", "function-"))
