"""One fact that was looked at, and a list of them with one rendering for terminals and one for notebooks."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from helpers import redact
from helpers.errors import CookbookError

NOTHING = "–"  # what was seen or is needed where a fact does not apply
LEFT = " style='text-align:left'"


@dataclass(frozen=True)
class Finding:
    """One judged fact: `ok` is None where it does not apply; one that is not `required` is advice and stops nothing."""

    name: str
    ok: bool | None
    seen: str
    needed: str = ""
    fix: str = ""
    required: bool = True

    @property
    def mark(self) -> str:
        """✓, ✗, ! for advice that is not followed, – for what does not apply."""
        return NOTHING if self.ok is None else "✓" if self.ok else "✗" if self.required else "!"


@dataclass(frozen=True, repr=False)
class Findings:
    """Everything that was looked at in one place; a subclass may add facts and a `title`."""

    findings: Sequence[Finding]

    @property
    def title(self) -> str:
        """One line above the findings, "" for none."""
        return ""

    @property
    def refusal(self) -> str:
        """What the error says first when something failed."""
        return "not started"

    @property
    def failed(self) -> list[Finding]:
        """What stops whoever asked."""
        return [finding for finding in self.findings if finding.ok is False and finding.required]

    @property
    def passed(self) -> bool:
        """Nothing stops whoever asked."""
        return not self.failed

    @property
    def exit_code(self) -> int:
        """0 when nothing stops whoever asked, else 1."""
        return int(not self.passed)

    @property
    def shown(self) -> list[Finding]:
        """What a reader is shown: a fact that neither applies nor was seen says nothing."""
        return [finding for finding in self.findings if finding.ok is not None or finding.seen != NOTHING]

    def raise_if_failed(self, refusal: str = "") -> None:
        """Raises `CookbookError` when something failed: the refusal, every failed finding, and the fix of the first."""
        if self.failed:
            why = [f.seen + (f", needed {f.needed}" if f.needed else "") for f in self.failed]
            what, names = refusal or self.refusal, [f.name for f in self.failed]
            if len(names) == 1:
                raise CookbookError(f"{what}: {names[0]}", why=why[0], do=self.failed[0].fix)
            each = "; ".join(f"{name}: {reason}" for name, reason in zip(names, why, strict=True))
            raise CookbookError(what, why=each, do=self.failed[0].fix)

    def text(self) -> str:
        """One line per finding under the title, with the fix under what is not ✓."""
        margin = "  " if self.title else ""
        wide = max((len(finding.name) for finding in self.shown), default=0)
        out = [self.title] if self.title else []
        for f in self.shown:
            needed = "" if f.needed in ("", NOTHING, f.seen) else f"   (needed: {f.needed})"
            out.append(f"{margin}{f.mark} {f.name:<{wide}}  {f.seen}{needed}")
            if f.ok is False and f.fix:
                out.append(f"{margin}  {'fix':<{wide}}  {f.fix}")
        return redact.text("\n".join(out))

    __str__ = __repr__ = text

    def _repr_html_(self) -> str:
        wrong = [f for f in self.shown if f.ok is False]
        right = [f for f in self.shown if f.ok is not False]
        held = f"{sum(f.ok is True for f in right)} checks passed"
        title = f"<p>{html.escape(redact.text(self.title))}</p>"
        folded = f"<details><summary>{held}</summary>{_table(right)}</details>"
        return title + (_table(wrong, fixes=True) if wrong else "") + folded


def _table(findings: Sequence[Finding], fixes: bool = False) -> str:
    """Findings as an HTML table, with their fixes where something is wrong."""
    rows = [("", "check", "seen", "needed", *(("fix",) if fixes else ()))]
    rows += [(f.mark, f.name, f.seen, f.needed, *((f.fix,) if fixes else ())) for f in findings]
    cells = [
        "".join(f"<{tag}{LEFT}>{html.escape(redact.text(cell))}</{tag}>" for cell in row)
        for tag, row in zip(["th", *["td"] * len(rows)], rows, strict=False)
    ]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def preformatted(text: str) -> str:
    """Text of a terminal as a notebook shows it; Jupyter's own style would give it letters of unequal width."""
    return f'<pre style="font-family: monospace; word-break: normal">{html.escape(text)}</pre>'
