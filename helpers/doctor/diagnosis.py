"""What a log means, as data and as a report: the first cause, the known failures, whether any ends the server."""

from dataclasses import dataclass, field
from typing import Any

from helpers import redact
from helpers.doctor.remedy import Remedy, issue_text
from helpers.doctor.signatures import Signature
from helpers.findings import preformatted


@dataclass(frozen=True)
class Cause:
    """One known failure that the log shows, with the line that shows it."""

    signature: Signature
    kind: str  # fatal, degraded or silent
    text: str
    line: int
    stream: str
    remedy: Remedy
    unusual: str = ""  # the log's vLLM version, where the failure is not known from it

    @property
    def versions(self) -> str:
        """The versions it is known from, and whether this log's is one of them."""
        note = f"; this log is of vLLM {self.unusual}, from which it is not known" if self.unusual else ""
        return self.signature.versions + note

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        known = self.signature
        return {
            "id": known.id,
            "title": known.title,
            "class": self.kind,
            "cause": known.cause,
            "hardware": known.hardware,
            "versions": self.versions,
            "fix": known.fix,
            "change": self.remedy.diff,
            "run": self.remedy.run,
            "source": list(known.source),
            "line": self.line,
            "process": self.stream,
            "text": self.text,
        }


@dataclass(repr=False)
class Diagnosis:
    """The answer to "what went wrong": `exception` is the first cause's line as the log has it (or None)."""

    log: str
    exception: str | None
    line: int
    process: str
    cause: Cause | None  # the known failure that explains `exception`
    others: list[Cause] = field(default_factory=list)
    fatal: bool = False
    request: bool = False  # what was found failed one request, and the server went on
    facts: dict[str, str] = field(default_factory=dict)
    stopped: int = 0
    started: bool = False
    lines: int = 0
    size: int = 0
    chain: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    is_server_log: bool = True  # something in it reads like a server's log
    expected: dict[str, str] = field(default_factory=dict)  # backends that the recipe counts on: attention, moe

    @property
    def wrong_backends(self) -> list[str]:
        """Backends that vLLM chose and the recipe does not expect: slower or wrong, without an error."""
        return [
            f"{kind} backend {self.facts[kind]}, expected {wanted}"
            for kind, wanted in self.expected.items()
            if kind in self.facts and self.facts[kind] not in wanted.split("|")
        ]

    @property
    def causes(self) -> list[Cause]:
        """Every known failure in the log, the cause first."""
        return ([self.cause] if self.cause else []) + self.others

    @property
    def ids(self) -> list[str]:
        """The ids of `causes`."""
        return [cause.signature.id for cause in self.causes]

    @property
    def kind(self) -> str:
        """fatal; request (one failed, the server went on); else the class of the first cause, or ""."""
        if self.fatal or self.request:
            return "fatal" if self.fatal else "request"
        return self.causes[0].kind if self.causes else ""

    @property
    def exit_code(self) -> int:
        """0 when nothing fatal was found, 1 when something was."""
        return 1 if self.fatal else 0

    @property
    def verdict(self) -> str:
        """One line for a person: the known cause, or the exception, or that nothing was found."""
        if self.cause:
            after = "; one request failed, the server went on" if self.request else ""
            return f"{self.cause.signature.id}: {self.cause.signature.title}{after}"
        if self.exception and self.request:
            return f"one request failed, the server went on: {self.exception.splitlines()[0]}"
        if self.exception:
            return f"unknown failure: {self.exception.splitlines()[0]}"
        if self.others:
            return "nothing fatal; " + ", ".join(f"{f.signature.id} {f.kind}" for f in self.others)
        if self.stopped:
            return f"no failure found; the server was told to stop at line {self.stopped}"
        if not self.is_server_log:
            return "no failure found, and nothing in it reads like a server's log"
        if self.unfinished:
            return (
                f"no failure found, but the log ends before the server was ready; its last line: {self.tail[-1][:160]}"
            )
        return "no failure found"

    @property
    def garbled(self) -> bool:
        """Nothing was found in something that is not text: its last lines are mostly bytes that no log has."""
        end = "".join(self.tail)
        odd = sum(not (c.isprintable() or c in "\t\x1b") or c == "\ufffd" for c in end)
        return not self.causes and not self.exception and odd > 0.3 * len(end) > 0

    @property
    def unfinished(self) -> bool:
        """A server began and never said that it was ready."""
        return bool({"vllm", "args"} & self.facts.keys()) and not self.started and bool(self.tail)

    @property
    def issue(self) -> str:
        """A ready-made issue for a failure that no signature explains, without secrets."""
        return issue_text(self.exception or "", self._place, self.chain, self.facts, self.tail)

    @property
    def _place(self) -> str:
        return f"line {self.line}{', ' + self.process if self.process else ''}"

    def report(self, machine: str = "", argv: list[str] | None = None) -> str:
        """One Markdown block for an issue, of any log: what was found and what is known of it, without secrets."""
        thinks = [f"- {self.verdict}"]
        for cause in self.causes:
            known = cause.signature
            about = f"{known.cause} Known hardware: {known.hardware}; vLLM: {cause.versions}. {known.fix}"
            thinks.append(
                f"- {known.id} [{cause.kind}] {known.title} (line {cause.line}). {about} ({', '.join(known.source)})"
            )
        thinks += [f"- {wrong}" for wrong in self.wrong_backends]
        return issue_text(self.exception or "", self._place, self.chain, self.facts, self.tail, thinks, machine, argv)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `--json`, without secrets."""
        return redact.data(
            {
                "log": self.log,
                "fatal": self.fatal,
                "class": self.kind,
                "verdict": self.verdict,
                "exception": self.exception,
                "line": self.line,
                "process": self.process,
                "cause": self.cause and self.cause.to_dict(),
                "also": [cause.to_dict() for cause in self.others],
                "facts": self.facts,
                "wrong_backends": self.wrong_backends,
                "stopped_at": self.stopped,
                "started": self.started,
                "lines": self.lines,
                "bytes": self.size,
                "issue": self.issue if self.exception and not self.cause else None,
            }
        )

    def text(self) -> str:
        """The whole report for a terminal, without secrets."""
        out = [f"{self.log}: {self.verdict}"]
        if self.exception:
            by = f" by {self.process}" if self.process else ""
            out += ["", f"First cause (line {self.line}{by}):", *_indent(self.exception)]
        for cause in self.causes:
            known = cause.signature
            out += ["", f"{known.id} [{cause.kind}] {known.title}"]
            if cause is not self.cause or self.exception is None or cause.text not in self.exception:
                out += [f"  seen      line {cause.line}: {cause.text[:300]}"]
            out += [f"  why       {known.cause}", f"  where     hardware: {known.hardware}; vLLM: {cause.versions}"]
            out += [f"  fix       {known.fix}"]
            if cause.remedy.diff:
                out += ["  change", *_indent(cause.remedy.diff)]
            if cause.remedy.run:
                out += ["  run first", *_indent("\n".join(cause.remedy.run))]
            out += [f"  source    {', '.join(known.source)}"]
        out += [f"\n[silent] {wrong}" for wrong in self.wrong_backends]
        if self.exception and not self.cause and not any(cause.kind == "fatal" for cause in self.others):
            out += ["", "No signature knows this failure. An issue you can file:", "", *_indent(self.issue)]
        return redact.text("\n".join(out))

    __str__ = __repr__ = text

    def _repr_html_(self) -> str:
        return preformatted(self.text())


def _indent(text: str) -> list[str]:
    return ["    " + line for line in text.splitlines()]
