"""What a log means: the first cause, the known failures in it, and whether any of them ends the server."""

import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from helpers import redact
from helpers.doctor.failure import Failure, any_ended, first_cause, one_request
from helpers.doctor.remedy import Remedy, issue_text, launched, remedy
from helpers.doctor.scan import Match, Scan, open_log, scan
from helpers.doctor.signatures import Signature, load
from helpers.errors import CookbookError
from helpers.paths import shown


@dataclass(frozen=True)
class Finding:
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
    cause: Finding | None  # the known failure that explains `exception`
    others: list[Finding] = field(default_factory=list)
    fatal: bool = False
    request: bool = False  # what was found failed one request, and the server went on
    facts: dict[str, str] = field(default_factory=dict)
    stopped: int = 0
    started: bool = False
    lines: int = 0
    size: int = 0
    chain: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    told: bool = True  # something in it reads like a server's log
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
    def findings(self) -> list[Finding]:
        """Every known failure in the log, the cause first."""
        return ([self.cause] if self.cause else []) + self.others

    @property
    def ids(self) -> list[str]:
        """The ids of `findings`."""
        return [finding.signature.id for finding in self.findings]

    @property
    def kind(self) -> str:
        """fatal; request (one failed, the server went on); else the class of the first finding, or ""."""
        if self.fatal or self.request:
            return "fatal" if self.fatal else "request"
        return self.findings[0].kind if self.findings else ""

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
        if self.unfinished:
            return (
                f"no failure found, but the log ends before the server was ready; its last line: {self.tail[-1][:160]}"
            )
        if not self.told:
            return "no failure found, and nothing in it reads like a server's log"
        return "no failure found"

    @property
    def garbled(self) -> bool:
        """Nothing was found in something that is not text: its last lines are mostly bytes that no log has."""
        told = "".join(self.tail)
        odd = sum(not (c.isprintable() or c in "\t\x1b") or c == "\ufffd" for c in told)
        return not self.findings and not self.exception and odd > 0.3 * len(told) > 0

    @property
    def unfinished(self) -> bool:
        """A server began and never said that it was ready."""
        return bool({"vllm", "args"} & self.facts.keys()) and not self.started and bool(self.tail)

    @property
    def issue(self) -> str:
        """A ready-made issue for a failure that no signature explains, without secrets."""
        return issue_text(self.exception or "", self.line, self.process, self.chain, self.facts, self.tail)

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
                "also": [finding.to_dict() for finding in self.others],
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
        for finding in self.findings:
            known = finding.signature
            out += ["", f"{known.id} [{finding.kind}] {known.title}"]
            if finding is not self.cause or self.exception is None or finding.text not in self.exception:
                out += [f"  seen      line {finding.line}: {finding.text[:300]}"]
            out += [f"  why       {known.cause}", f"  where     {known.hardware}; {finding.versions}"]
            out += [f"  fix       {known.fix}"]
            if finding.remedy.diff:
                out += ["  change", *_indent(finding.remedy.diff)]
            if finding.remedy.run:
                out += ["  run first", *_indent("\n".join(finding.remedy.run))]
            out += [f"  source    {', '.join(known.source)}"]
        out += [f"\n[silent] {wrong}" for wrong in self.wrong_backends]
        if self.exception and not self.cause and not any(finding.kind == "fatal" for finding in self.others):
            out += ["", "No signature knows this failure. An issue you can file:", "", *_indent(self.issue)]
        return redact.text("\n".join(out))

    __str__ = __repr__ = text

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text())}</pre>"


def _indent(text: str) -> list[str]:
    return ["    " + line for line in text.splitlines()]


def diagnose(
    source: str | Path | BinaryIO, signatures: list[Signature] | None = None, argv: list[str] | None = None
) -> Diagnosis:
    """Read a log once and explain it; `argv` is the launch command where it is known better than from the log.

    `UsageError` when the log cannot be read.
    """
    known = list(load() if signatures is None else signatures)
    found = scan(source, known)
    named = shown(Path(source)) if isinstance(source, str | Path) and str(source) != "-" else "standard input"
    return judge(found, named, known, argv)


def judge(found: Scan, named: str, known: list[Signature], argv: list[str] | None = None) -> Diagnosis:
    """The diagnosis of one pass over a log (no input or output)."""
    first = first_cause(found.tracker.failures, lambda line: _harmless(line, known))
    if first is None and not found.started:
        first = _logged(found, known)
    live = [match for match in found.matches if not match.after_shutdown]
    telling = [match for match in live if not match.pattern.wrapper]
    explains = _explains(first, telling) or (_explains(first, live) if first and first.wrapper else None)
    if first is None:
        explains = next((match for match in telling or live if match.kind == "fatal"), None)
    if first is None:  # a line that a server logs while it answers others ended one request at most
        request = explains is not None and found.started and not any_ended(found.tracker.failures)
    else:
        deadly = explains is not None and explains.kind == "fatal"
        request = not deadly and one_request(first, found.tracker.failures)
    fatal = not request and (first is not None or explains is not None)
    failure = first or next(
        (f for f in found.tracker.failures if f.chain and not f.after_shutdown and not f.handled), None
    )
    command = redact.argv(argv) if argv else launched(found.facts)
    cause = _finding(explains, command, found.facts) if explains else None
    rest: dict[str, Match] = {}
    for match in sorted(telling, key=lambda match: (match.kind != "fatal", match.line.number)):
        if explains is None or match.signature.id != explains.signature.id:
            rest.setdefault(match.signature.id, match)
    others = [
        _finding(match, command, found.facts) for match in sorted(rest.values(), key=lambda match: match.line.number)
    ]
    exception = failure.message() if failure else (cause.text if cause else None)
    return Diagnosis(
        log=named,
        exception=exception,
        line=failure.line_number if failure else (cause.line if cause else 0),
        process=failure.stream if failure else (cause.stream if cause else ""),
        cause=cause,
        others=others,
        fatal=fatal,
        request=request,
        facts=found.facts,
        stopped=found.stopped,
        started=found.started,
        lines=found.lines,
        size=found.size,
        chain=list(failure.chain) if failure else [],
        tail=found.tail,
        told=found.told,
    )


def _logged(found: Scan, known: list[Signature]) -> Failure | None:
    """The last resort for a server that never was ready: the first line that it logged as an error."""
    if any(match.kind == "fatal" and not match.after_shutdown for match in found.matches):
        return None
    return next((f for f in found.tracker.logged if not (f.after_shutdown or _harmless(f.line, known))), None)


def _harmless(line: str, known: list[Signature]) -> bool:
    return any((p := s.explains(line)) is not None and s.kind_of(p) != "fatal" for s in known)


def _finding(match: Match, command: list[str], facts: dict[str, str]) -> Finding:
    line = match.line
    return Finding(
        match.signature,
        match.kind,
        line.text,
        line.number,
        line.stream,
        remedy(match.signature, match.groups, command),
        _unusual(match.signature, facts),
    )


def _unusual(signature: Signature, facts: dict[str, str]) -> str:
    """The log's vLLM version where the signature's range excludes it, else ""."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        version = Version(facts["vllm"]) if signature.vllm and "vllm" in facts else None
    except InvalidVersion:
        return ""
    outside = version and version.base_version not in SpecifierSet(signature.vllm, prereleases=True)
    return facts["vllm"] if outside else ""


def _explains(first: Failure | None, live: list[Match]) -> Match | None:
    """The match that explains the first cause: in its own chain, in the lines after it, or shortly before it."""
    if first is None:
        return None
    for texts in ([first.line], first.chain, first.detail):
        for match in live:
            if any(match.signature.explains(text) is not None for text in texts):
                return match
    for match in live:  # in the source lines of its traceback
        if match.line.stream == first.stream and first.number <= match.line.number <= first.line_number:
            return match
    before = [m for m in live if m.kind == "fatal" and m.line.number <= first.number]
    return before[0] if before else None


def first_exception(path: str | Path, offset: int = 0) -> str | None:
    """The first cause's exception line as the log has it, never a wrapper while a cause is there; None if none.

    `offset` is where to begin, in bytes, for a log that earlier servers wrote to. Where nothing raised but a known
    fatal line was logged, it is that line.
    """
    try:
        known = list(load())
    except CookbookError:  # a broken signature file must not hide the reason of a failed launch
        known = []
    stream = open_log(path)
    stream.seek(offset)
    return diagnose(stream, known).exception
