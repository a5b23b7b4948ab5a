"""What was found about a release, and the page that says it."""

from dataclasses import dataclass, field
from datetime import date

from helpers.pages.markdown import cell, row, table
from helpers.records.age import minor
from maintain.limits.asked import STATES, Probed
from maintain.parser import ParserReport
from maintain.upgrade.flags import Change

NAMES = {"cpu": "CPU", "cuda": "CUDA"}
SHOWN = 40  # names of new options


@dataclass
class Upgrade:
    """One stack, brought from a release to another, and what was found on the way."""

    stack: str
    old: str
    new: str
    day: date
    lock: list[tuple[str, str, str]] = field(default_factory=list)  # package, before, after; "" where it is not
    parsed: ParserReport | None = None
    flags: list[Change] = field(default_factory=list)
    used: int = 0  # flags and variables that the recipes use
    added: list[str] = field(default_factory=list)  # options that the new release has and the old one has not
    probes: list[Probed] = field(default_factory=list)
    unprobed: list[str] = field(default_factory=list)  # known limits without a probe
    lane: str = "not run"
    missing: list[str] = field(default_factory=list)  # what could not be done, and why

    @property
    def passed(self) -> bool:
        """The parser takes every recipe, and the lane passed or was not asked for."""
        return self.parsed is not None and not self.parsed.faults and not self.lane.startswith("failed")


def page(found: Upgrade) -> str:
    """Everything that was looked at, and what was not."""
    parts = [
        f"# {NAMES[found.stack]} stack: vLLM {found.old} to {found.new}",
        f"Written by `cookbook upgrade --stack {found.stack} --vllm {found.new}` on {found.day}.",
        table(["what", "found"], summary(found)),
        *section("Flags and variables in use that changed", flags(found)),
        *section("Known limits", limits(found)),
        *section("Packages of the lock that differ", packages(found)),
        *section("New options and variables", ", ".join(f"`{name}`" for name in found.added[:SHOWN]) or "None."),
        *section("Not looked at", "\n".join(f"- {line}" for line in left_out(found))),
    ]
    return "\n\n".join(parts) + "\n"


def section(title: str, content: str) -> list[str]:
    return [f"## {title}", content]


def summary(found: Upgrade) -> list[str]:
    parsed = found.parsed
    rows = [row("lock", f"{len(found.lock)} packages differ; it was installed whole")]
    if parsed:
        verdict = "all taken" if not parsed.faults else f"**{len(parsed.faults)} faults**"
        rows.append(
            row(
                "parser",
                f"vLLM {parsed.vllm}, {parsed.platform}: {parsed.commands} commands of every recipe, {verdict}",
            )
        )
        rows += [row("", cell(fault.line())) for fault in parsed.faults]
    rows.append(row("flags and variables in use", f"{found.used}, of which {len(found.flags)} are declared otherwise"))
    needless = [one for one in found.probes if one.state == "goes on"]
    probed = f"{len(found.probes)} probed, {len(needless)} no longer needed; {len(found.unprobed)} without a probe"
    rows.append(row("known limits", probed))
    if found.stack == "cpu":
        rows.append(row("the CPU notebook, from cold to stopped", cell(found.lane)))
    return rows


def flags(found: Upgrade) -> str:
    if not found.flags:
        return "None: type, default and reading of each are the same."
    cells = [
        row(f"`{c.name}`", *(f"`{cell(text)}`" if text else "none" for text in (c.before, c.after)))
        for c in found.flags
    ]
    return table(["name", found.old, found.new], cells)


def limits(found: Upgrade) -> str:
    lines = [f"- {one.target}, `{one.limit}`: {STATES[one.state]} ({one.said})" for one in found.probes]
    by_limit: dict[str, list[str]] = {}
    for one in found.unprobed:
        target, _, limit = one.partition(": ")
        by_limit.setdefault(limit, []).append(target)
    lines += [f"- `{limit}` has no probe: only its hardware can tell ({', '.join(t)})" for limit, t in by_limit.items()]
    return "\n".join(lines) or "The recipes of this stack have none."


def packages(found: Upgrade) -> str:
    rows = [row(name, before or "none", after or "none") for name, before, after in found.lock]
    return table(["package", "before", "after"], rows) if rows else "None."


def left_out(found: Upgrade) -> list[str]:
    lines = list(found.missing) + (found.parsed.not_checked if found.parsed else [])
    if found.stack != "cpu":
        lines.append(
            "a server of this release: the installation was parsed on a machine without a GPU, and nothing was served"
        )
        lines.append("which kernels it chooses on each GPU; its image's tag was not pulled")
    elif found.lane == "not run":
        lines.append("a server of this release: `--lane` runs the CPU notebook on it")
    if minor(found.new) < minor(found.old):
        lines.append("whether records of the newer release are read: this is a step back")
    return lines
