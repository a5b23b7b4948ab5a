"""From a log to its diagnosis: which failure came first, which known failure explains it, what else is there."""

import re
from dataclasses import replace
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

HANG = 600  # seconds of nothing but heartbeats at the end of a log
NEAR = 5  # lines between a warning and the exception that it led to


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
    live = [match for match in found.matches if _counts(match, found)]
    broader = {name for match in live for name in match.signature.over}
    live = [match for match in live if match.signature.id not in broader]
    live.sort(key=lambda match: bool(_unusual(match.signature, found.facts)))
    hangs = None if first or found.waited < HANG else found.waits
    if hangs:
        first = Failure(hangs.number, hangs.stream, "hang", [hangs.text], fatal=True)
    elif first is None and not found.started:
        first = _logged(found, known)
    telling = [match for match in live if not match.pattern.wrapper]
    explains = _explains(first, telling) or (_explains(first, live) if first and first.wrapper else None)
    if first is None:
        explains = next((match for match in telling or live if match.kind == "fatal"), None)
    if first is None:  # a line that a server logs while it answers others ended one request at most
        request = explains is not None and bool(found.started) and not any_ended(found.tracker.failures)
    else:
        request = one_request(first, found.tracker.failures)
        if explains and not request and explains.kind != "fatal":
            explains = replace(explains, deadly=True)
    fatal = not request and (first is not None or explains is not None)
    failure = first or next(
        (f for f in found.tracker.failures if f.chain and not f.after_shutdown and not f.handled), None
    )
    command = redact.argv(argv) if argv else launched(found.facts)
    cause = _cause(explains, command, found.facts) if explains else None
    others = [_cause(match, command, found.facts) for match in _beside(explains, telling)]
    exception = failure.message() if failure else (cause.text if cause else None)
    line = failure.line_number if failure else (cause.line if cause else 0)
    if failure and explains and _came_first(explains, failure):
        exception, line = f"{explains.line.text}\n{failure.line}", explains.line.number
    return Diagnosis(
        log=named,
        exception=exception,
        line=line,
        process=failure.stream if failure else (cause.stream if cause else ""),
        cause=cause,
        others=others,
        fatal=fatal,
        request=request,
        facts=found.facts,
        stopped=found.stopped,
        started=bool(found.started),
        lines=found.lines,
        size=found.size,
        chain=list(failure.chain) if failure else [],
        tail=found.tail,
        is_server_log=found.is_server_log,
    )


def _beside(explains: SignatureMatch | None, telling: list[SignatureMatch]) -> list[SignatureMatch]:
    """The other known failures in the order of the log, one match of each: a fatal one where there is any."""
    rest: dict[str, SignatureMatch] = {}
    for match in sorted(telling, key=lambda match: (match.kind != "fatal", match.line.number)):
        if explains is None or match.signature.id != explains.signature.id:
            rest.setdefault(match.signature.id, match)
    return sorted(rest.values(), key=lambda match: match.line.number)


def _counts(match: SignatureMatch, found: Scan) -> bool:
    """Whether a match is of the server that ran: not of a shutdown, nor what a server met and outlived (no restart)."""
    restarted = any_ended(f for f in found.tracker.failures if f.number < found.started)
    outlived = match.kind == "fatal" and match.line.number < found.started and not restarted
    return not (match.after_shutdown or outlived) and match.signature.fits(found.facts)


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
    return before[0] if before else next((match for match in live if _led_to(match, first)), None)


def _led_to(match: SignatureMatch, first: Failure) -> bool:
    """Whether a degradation led to the exception: the same kind of process told of it just before, or it names the thing."""
    kind = match.signature.kind_of(match.pattern)
    if kind != "degraded" or match.line.number >= first.number or _kind(match.line.stream) != _kind(first.stream):
        return False
    names = {word for quoted in re.findall(r"['`\"]([\w.]{4,})['`\"]", first.line) for word in quoted.split(".")}
    return first.number - match.line.number <= NEAR or any(name in match.line.text for name in names if len(name) > 3)


def _came_first(match: SignatureMatch, failure: Failure) -> bool:
    """Whether the known line is what happened, and the exception after it only its consequence."""
    told = any(match.signature.explains(text) is not None for text in [*failure.chain, *failure.detail])
    return not told and match.line.number < failure.number and (failure.wrapper or _led_to(match, failure))


def _kind(stream: str) -> str:
    return re.sub(r"[\d ]", "", stream)


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
