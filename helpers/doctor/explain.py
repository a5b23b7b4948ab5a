"""From a log to its diagnosis: which failure came first, which known failure explains it, what else is there."""

from pathlib import Path
from typing import BinaryIO

from helpers import redact
from helpers.doctor.diagnosis import Cause, Diagnosis
from helpers.doctor.failure import Failure, any_ended, first_cause, one_request
from helpers.doctor.remedy import launched, remedy
from helpers.doctor.scan import Scan, SignatureMatch, open_log, scan
from helpers.doctor.signatures import Signature, load
from helpers.errors import CookbookError, UsageError
from helpers.paths import shown


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
    cause = _cause(explains, command, found.facts) if explains else None
    rest: dict[str, SignatureMatch] = {}
    for match in sorted(telling, key=lambda match: (match.kind != "fatal", match.line.number)):
        if explains is None or match.signature.id != explains.signature.id:
            rest.setdefault(match.signature.id, match)
    others = [
        _cause(match, command, found.facts) for match in sorted(rest.values(), key=lambda match: match.line.number)
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
        is_server_log=found.is_server_log,
    )


def _logged(found: Scan, known: list[Signature]) -> Failure | None:
    """The last resort for a server that never was ready: the first line that it logged as an error."""
    if any(match.kind == "fatal" and not match.after_shutdown for match in found.matches):
        return None
    return next((f for f in found.tracker.logged if not (f.after_shutdown or _harmless(f.line, known))), None)


def _harmless(line: str, known: list[Signature]) -> bool:
    return any((p := s.explains(line)) is not None and s.kind_of(p) != "fatal" for s in known)


def _cause(match: SignatureMatch, command: list[str], facts: dict[str, str]) -> Cause:
    line = match.line
    return Cause(
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
    outside = version and version.base_version not in SpecifierSet(signature.vllm or "", prereleases=True)
    return facts["vllm"] if outside else ""


def _explains(first: Failure | None, live: list[SignatureMatch]) -> SignatureMatch | None:
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
    return why_and_fix(path, offset)[0]


def why_and_fix(path: str | Path, offset: int = 0) -> tuple[str | None, str]:
    """`first_exception`, and what to do about it: a known failure's fix and change, and where the whole report is."""
    try:
        known = list(load())
    except CookbookError:  # a broken signature file must not hide the reason of a failed launch
        known = []
    stream = open_log(path)
    stream.seek(offset)
    found = diagnose(stream, known)
    do = f"see `cookbook doctor {shown(Path(path).resolve())}`"
    if found.cause and found.fatal:
        fix, change = found.cause.signature.fix.rstrip("."), found.cause.remedy.line()
        do = f"{fix}{change and f' ({change})'}; this is failure {found.cause.signature.id}, {do}"
    return found.exception, do


def with_log(error: CookbookError, log: Path, died: bool) -> CookbookError:
    """The error naming the log; where the server `died`, its first exception is why and the known fix what to do.

    A wrong request (`UsageError`) and an error that names the log already stay as they are.
    """
    place = shown(Path(log).resolve())
    if isinstance(error, UsageError) or place in error.line() or not Path(log).exists():
        return error
    if died:
        why, do = why_and_fix(log)
        return CookbookError(error.what, why or error.why, do)
    do = error.do or "look at the server's log"
    return CookbookError(error.what, error.why, f"{do} (its log: {place})")
