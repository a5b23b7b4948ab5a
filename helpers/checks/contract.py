"""A contract: one promise about the server, checked, with the one normalised line that nbval compares."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from helpers.errors import CookbookError


class ContractBroken(CookbookError, AssertionError):
    """A reply did not keep a contract; the message names the contract and every fault."""


@dataclass(frozen=True)
class Contract:
    """What a check found: facts that never vary between runs, and the faults, if any.

    `facts` holds no ids, times, counts that vary or free text: it becomes the committed output line.
    """

    name: str
    group: str  # what the records' rows are counted by: endpoints, streaming, lifecycle, accuracy, ...
    facts: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    skipped: str = ""  # why nothing could be checked: the model did something else that is right too

    @property
    def passed(self) -> bool:
        return not self.faults and not self.skipped

    def line(self) -> str:
        """`chat.completions        ✓ status 200 · finish stop · usage ✓`."""
        if self.skipped:
            return f"{self.name:34} – skipped: {self.skipped}"
        facts = " · ".join(f"{key} {value}" for key, value in self.facts.items())
        return f"{self.name:34} {'✓' if self.passed else '✗'} {facts}"

    def raise_if_broken(self) -> "Contract":
        """Return the contract, or raise `ContractBroken` with its faults."""
        if self.faults:
            raise ContractBroken(
                f"the contract {self.name} is broken",
                why="; ".join(self.faults),
                do="see the reply above and the server's log",
            )
        return self


class Facts:
    """Collects facts and faults while a check looks at a reply.

    >>> facts = Facts()
    >>> facts.need("usage", 3 > 0, "no tokens were counted")
    >>> facts.contract("demo", "endpoints").line()
    'demo                               ✓ usage ✓'
    """

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.faults: list[str] = []

    def need(self, name: str, holds: bool, fault: str) -> None:
        """A yes-or-no fact: shown as ✓ or ✗, a fault when it does not hold."""
        self.facts[name] = "✓" if holds else "✗"
        if not holds:
            self.faults.append(f"{name}: {fault}")

    def same(self, name: str, found: object, wanted: object, *others: object) -> None:
        """A fact with a value, a fault when it is neither the wanted one nor one of the others that are right too."""
        self.facts[name] = str(found)
        if found not in (wanted, *others):
            self.faults.append(f"{name} is {found!r} instead of {' or '.join(map(repr, (wanted, *others)))}")

    def contract(self, name: str, group: str) -> Contract:
        return Contract(name, group, self.facts, tuple(self.faults))
