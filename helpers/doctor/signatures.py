"""The known failures: `recipes/failures/`, one file a component, typed."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from helpers.errors import CookbookError
from helpers.paths import RECIPES, shown
from helpers.recipes.files import Loader, validation_faults

FAILURES = RECIPES / "failures"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Pattern(_Strict):
    """Text that a log line must hold; `regex`, where given, decides once `literal` was found."""

    literal: str = Field(min_length=4)
    regex: str | None = None
    kind: Literal["fatal", "degraded", "silent"] | None = Field(None, alias="class")  # where it differs
    info: bool = False  # shown on INFO lines; elsewhere such a line is somebody's text, not a failure
    example: str = ""  # a line that carries it, as a log has it, where no fixture does
    startup: bool = False  # only before the server is ready: later the same words tell of one request's input
    wrapper: bool = False  # says that something failed, not what: named only when nothing else is found

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value

    @property
    def anchor(self) -> bytes:
        """What the scanner searches the raw bytes for."""
        return self.literal.encode()

    def find(self, text: str) -> dict[str, str] | None:
        """The named groups when the line carries the pattern, else None."""
        if self.regex is None:
            return {} if self.literal in text else None
        found = _compiled(self.regex).search(text)
        return {k: v for k, v in found.groupdict().items() if v is not None} if found else None


class Change(_Strict):
    """The exact change of a command: flags and variables to add (or replace) and to drop."""

    args: dict[str, str | int | float | bool] = {}
    drop_args: list[str] = []
    env: dict[str, str | int] = {}
    drop_env: list[str] = []
    run: list[str] = []  # shell lines to run once, before the next launch

    def __bool__(self) -> bool:
        return bool(self.args or self.drop_args or self.env or self.drop_env or self.run)


class Signature(_Strict):
    """One known failure: how it shows, why it happens, and the change that ends it."""

    id: str = Field(pattern=r"^[A-Z]{1,2}\d+$")
    title: str = Field(max_length=100)
    component: str = ""  # the name of its file
    kind: Literal["fatal", "degraded", "silent"] = Field(alias="class")
    match: list[Pattern] = Field(min_length=1)
    counter: list[str] = Field(min_length=1)  # log lines that look like it and are something else
    unless: dict[str, str] = {}  # facts of the log (helpers.logs.RUN_FACTS), as regexes, with which it says nothing
    over: list[str] = []  # ids of broader failures that this one, where it shows, explains away
    hardware: str
    versions: str = "all"
    vllm: str | None = None  # PEP 440 specifier of the vLLM versions it was seen on, where that is known
    mended: str = ""  # the vLLM release from which on it no longer happens
    cause: str
    fix: str
    change: Change = Change()
    source: list[str] = Field(min_length=1)
    probe: str | None = None  # the live check that finds it when no line is logged
    verified: Literal["run", "source", "reported"] = "reported"

    @field_validator("vllm")
    @classmethod
    def _specifier(cls, value: str | None) -> str | None:
        from packaging.specifiers import SpecifierSet

        SpecifierSet(value or "")
        return value

    @field_validator("match", mode="before")
    @classmethod
    def _plain_text(cls, value: object) -> object:
        items = value if isinstance(value, list) else [value]
        return [{"literal": item} if isinstance(item, str) else item for item in items]

    def fits(self, facts: Mapping[str, str]) -> bool:
        """Whether nothing that the log says about its server speaks against it (its `unless`)."""
        return not any(re.search(regex, facts.get(name, "")) for name, regex in self.unless.items())

    def kind_of(self, pattern: Pattern) -> str:
        """The class of this signature when `pattern` is what showed it."""
        return pattern.kind or self.kind

    def explains(self, text: str) -> Pattern | None:
        """The first of its patterns that the line carries."""
        return next((pattern for pattern in self.match if pattern.find(text) is not None), None)


@cache
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex)


@cache
def load(folder: Path = FAILURES) -> tuple[Signature, ...]:
    """Every signature, file by file; `CookbookError` names the entry and the key that is wrong."""
    signatures: dict[str, Signature] = {}
    faults = []
    try:
        for path in sorted(folder.glob("*.yaml")):
            for entry in yaml.load(path.read_text(encoding="utf-8"), Loader):
                try:
                    signature = Signature.model_validate(entry | {"component": path.stem})
                except ValidationError as error:
                    faults += [f"{entry.get('id', entry)}.{fault}" for fault in validation_faults(error)]
                    continue
                faults += [f"{signature.id} is used twice"] * (signature.id in signatures)
                signatures[signature.id] = signature
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise CookbookError(f"cannot read {shown(folder)}", why=str(error), do="repair the file") from error
    if faults:
        raise CookbookError(f"{shown(folder)} is not valid", why="; ".join(faults[:5]), do="repair the entry")
    return tuple(signatures.values())
