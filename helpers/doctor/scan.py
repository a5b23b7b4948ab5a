"""One pass over a log of any size: failures, matched signatures, versions and flags, in bounded memory.

The file is read in chunks of bytes. A line whose shape (its text without numbers) came before costs one look-up; of the
others, those that hold one of `ANCHORS` or of the signatures' own words, and the lines of an open traceback, are taken
apart: 100 MB in 10 s, also where no two lines are alike.
"""

import codecs
import gzip
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from helpers.doctor.exceptions import Tracker
from helpers.doctor.failure import WRAPPER
from helpers.doctor.signatures import Pattern, Signature
from helpers.doctor.words import ANCHORS, EVERY_TIME, NOTED, VARYING, any_of
from helpers.errors import UsageError
from helpers.logs import HEARTBEAT, IDLE, RUN_FACTS, SAID, STARTED, STARTS, STOPS, Line, parse
from helpers.paths import shown

CHUNK = 4 << 20  # bytes; two of them are the most that is held
LONGEST = 1 << 16  # bytes of one line that are read
MAX_SHAPES = 100_000
END = 1 << 16  # bytes at the end of a log that are read once more: ten minutes of heartbeats of eight workers
SHORT = 300  # bytes; a longer line has somebody's prompt in it and never comes again


@dataclass
class SignatureMatch:
    """The first line that carries a signature (by class), outside a shutdown where there is one."""

    signature: Signature
    pattern: Pattern
    line: Line
    after_shutdown: bool = False
    groups: dict[str, str] = field(default_factory=dict)
    deadly: bool = False  # degraded as a rule, and here the cause of an exception that followed

    @property
    def kind(self) -> str:
        """fatal, degraded or silent."""
        return "fatal" if self.deadly else self.signature.kind_of(self.pattern)


@dataclass
class Scan:
    """What one pass found."""

    tracker: Tracker
    matches: list[SignatureMatch]
    facts: dict[str, str]
    stopped: int = 0  # line number of the last announced shutdown, 0 for none
    started: int = 0  # line number of the last "ready", 0 for none
    lines: int = 0
    size: int = 0
    tail: list[str] = field(default_factory=list)
    is_server_log: bool = False  # something in it reads like a server's log
    waits: Line | None = None  # the first of the heartbeats that the log ends in
    waited: int = 0  # seconds that they stand for


def open_log(source: str | Path) -> BinaryIO:
    """Open a log (`-` is standard input, `.gz` is unpacked); `UsageError` says why it cannot be read."""
    if str(source) == "-":
        return sys.stdin.buffer
    path = Path(source)
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a directory")
        stream = path.open("rb")
        head = stream.peek(4)
        if head.startswith(b"\x1f\x8b"):  # whatever its name says
            return gzip.open(stream)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as a PowerShell `>` writes it
            return codecs.EncodedFile(stream, "utf-8", "utf-16")
        return stream
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error))
        raise UsageError(f"cannot read {shown(path)}", why=why, do="name the server's log file") from error


def pieces(stream: BinaryIO) -> Iterator[bytes]:
    """The stream in whole lines, about `CHUNK` bytes at a time; a line beyond `LONGEST` is broken."""
    rest = b""
    while block := stream.read(CHUNK):
        block = rest + block
        cut = max(block.rfind(b"\n"), block.rfind(b"\r", max(0, len(block) - LONGEST))) + 1
        if not cut:
            cut = len(block) if len(block) > LONGEST else 0
        rest = block[cut:]
        if len(rest) > LONGEST:
            cut, rest = len(block), b""
        yield block[:cut]
    if rest:
        yield rest


class Scanner:
    """The state of one pass; `signatures` may be empty when only the first exception is wanted."""

    def __init__(self, signatures: list[Signature]):
        self.tracker = Tracker()
        self.facts: dict[str, str] = {}
        self.matches: dict[tuple[str, str, bool], SignatureMatch] = {}
        self.stopped = self.stopped_child = 0
        self.started = 0
        self.number = 0  # lines before the current piece
        self._open_patterns = [(p, s) for s in signatures for p in s.match]  # those not matched outside a shutdown
        noted, anchors = frozenset(NOTED), frozenset(pattern.anchor for pattern, _ in self._open_patterns)
        self._read, self._noted = any_of(noted.union(ANCHORS, anchors)), any_of(noted)
        self._matching, self._each = any_of(anchors), any_of(frozenset(EVERY_TIME))
        self._shapes: set[bytes] = set()  # shapes of lines that need not be read again

    def piece(self, data: bytes) -> None:
        """Take some whole lines."""
        rows = enumerate(data.split(b"\n"))
        if b"\r" in data:
            rows = ((i, part) for i, line in rows for part in line.split(b"\r") if part)
        for i, raw in rows:
            if len(raw) > LONGEST:
                raw = raw[:LONGEST]
            if self.tracker.opened or self._new(raw):
                self._line(raw, parse(raw, self.number + 1 + i))
        self.number += data.count(b"\n")

    def _new(self, raw: bytes) -> bool:
        """Whether a line outside a traceback is to be read; remembers its shape where that settles the next ones."""
        shape = raw[:600].translate(None, VARYING)
        if shape in self._shapes:
            return False
        read = self._read.search(raw) is not None
        if not (read and self._each.search(raw)) and (read or len(raw) < SHORT):
            if len(self._shapes) >= MAX_SHAPES:
                self._shapes.clear()
            self._shapes.add(shape)
        return read

    def _line(self, raw: bytes, line: Line) -> None:
        if self._noted.search(raw):
            self._note(line)
        after = bool(self.stopped) or bool(self.stopped_child and (line.child or WRAPPER.search(line.text)))
        self.tracker.feed(line, after)
        if self._open_patterns and self._matching.search(raw):
            self._match(line, after)

    def _note(self, line: Line) -> None:
        """Follow the server's life and pick up what it says about itself."""
        text = line.text
        if STOPS.search(text) and "Shutting down" not in text[40:]:
            if line.child:
                self.stopped_child = self.stopped_child or line.number
            else:
                self.stopped = self.stopped or line.number
        elif STARTS.search(text):
            if self.stopped or self.stopped_child:
                self._shapes.clear()
                self.tracker.restart()
            self.stopped = self.stopped_child = 0
            self.started, self.tracker.started = 0, False
        elif STARTED.search(text):
            self.started = line.number
            self.tracker.ready()
        if "non-default args" in text or "API server version" in text:
            self.tracker.banner()
        for name in RUN_FACTS:
            if name not in self.facts and (found := SAID[name].search(text)):
                self.facts[name] = found[1]

    def _match(self, line: Line, after: bool) -> None:
        """Keep the signatures that the line shows, each for the first line outside a shutdown."""
        done = set()
        for pattern, signature in self._open_patterns:
            if pattern.literal not in line.text or (line.level in ("INFO", "DEBUG") and not pattern.info):
                continue
            key = signature.id, signature.kind_of(pattern), pattern.wrapper
            if (pattern.startup and self.started) or key in done or (after and key in self.matches):
                continue
            if (groups := pattern.find(line.text)) is not None:
                self.matches[key] = SignatureMatch(signature, pattern, line, after, groups)
                if not after:
                    done.add(key)
        if done:
            self._open_patterns = [
                (p, s) for p, s in self._open_patterns if (s.id, s.kind_of(p), p.wrapper) not in done
            ]

    def result(self, size: int) -> Scan:
        """Everything found, matches in the order of the log."""
        found = sorted(self.matches.values(), key=lambda match: match.line.number)
        return Scan(
            self.tracker, found, self.facts, self.stopped or self.stopped_child, self.started, self.number, size
        )


def scan(source: str | Path | BinaryIO, signatures: list[Signature] | None = None) -> Scan:
    """Read a log (a path, `-`, or an open binary stream) once."""
    stream = source if isinstance(source, io.IOBase) or hasattr(source, "read") else open_log(source)
    scanner, size, last = Scanner(signatures or []), 0, b""
    try:
        for piece in pieces(stream):
            scanner.piece(piece)
            size, last = size + len(piece), (last + piece[-END:])[-END:]
    except (OSError, EOFError) as error:  # a damaged .gz, a device error, a network file system gone
        raise UsageError("the log could not be read to its end", why=str(error), do="check the file") from error
    finally:
        if stream is not sys.stdin.buffer:
            stream.close()
    found = scanner.result(size)
    rows = last.split(b"\n")
    end = [parse(raw, found.lines + 2 - len(rows) + place) for place, raw in enumerate(rows) if raw.strip()]
    found.tail = [line.text for line in end][-5:]
    said = found.facts.keys() - {"vllm", "torch"}  # a README names releases too
    found.is_server_log = bool(said or found.started) or any(line.level or line.stream for line in end)
    found.waits, found.waited = heartbeats(end)
    return found


def heartbeats(end: list[Line]) -> tuple[Line | None, int]:
    """The first of the heartbeats in which these last lines end, but for a stop, and the seconds that they stand for."""
    stop = next((place for place, line in enumerate(end) if STOPS.search(line.text)), len(end))
    waited: dict[str, int] = {}
    first = None
    for line in reversed(end[:stop]):
        if beat := HEARTBEAT.search(line.text):
            before = waited.get(line.stream, 0)
            first, waited[line.stream] = line, max(before, int(beat[2])) if beat[2] else before + int(beat[1] or 10)
        elif not IDLE.search(line.text):
            break
    return first, max(waited.values(), default=0)
