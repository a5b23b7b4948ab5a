"""One flag or environment variable of a recipe, with the reason it is there and where that is known from."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """A part of a recipe: unknown keys are refused, a loaded recipe is not changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


# vLLM's long name without dashes in front, e.g. max-model-len
FlagName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
Text = Annotated[str, Field(min_length=3)]


class Setting(Strict):
    """The value of a flag or variable; `null` takes away what an earlier block set."""

    value: bool | int | float | str | list[str] | dict[str, Any] | None
    why: Text
    source: Text

    def words(self, flag: str) -> list[str]:
        """The command-line words of this value under `flag` (its long name without dashes)."""
        match self.value:
            case None:
                return []
            case True:
                return [f"--{flag}"]
            case False:
                return [f"--no-{flag}"]
            case list():
                return [f"--{flag}", *self.value]
            case dict():
                return [f"--{flag}", json.dumps(self.value, separators=(",", ":"))]
            case _:
                return [f"--{flag}", str(self.value)]

    def variable(self) -> str:
        """The value as an environment variable holds it."""
        if isinstance(self.value, bool):
            return "1" if self.value else "0"
        return str(self.value)


class Block(Strict):
    """Flags and variables that belong together; later blocks win over earlier ones, key by key."""

    args: dict[FlagName, Setting] = {}
    env: dict[VariableName, Setting] = {}

    def merged(self, *others: "Block") -> "Block":
        """This block with the others laid over it in order; what is `null` at the end is dropped."""
        args, env = dict(self.args), dict(self.env)
        for other in others:
            args.update(other.args)
            env.update(other.env)
        return Block(
            args={name: setting for name, setting in args.items() if setting.value is not None},
            env={name: setting for name, setting in env.items() if setting.value is not None},
        )
