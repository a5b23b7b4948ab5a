"""One pass over a log of any size: failures, matched signatures, versions and flags, in bounded memory.

The file is read in chunks of bytes. A line whose shape (its text without numbers) came before costs one
look-up, an INFO line without a word of `TOLD` a glance; of the others, those that hold one of `ANCHORS`, and the lines
of an open traceback, are taken apart. A place that writes ever new lines is read in full `MAX_NOVEL` times.
"""

import codecs
import gzip
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from helpers.doctor.exceptions import TRACEBACK, Tracker
from helpers.doctor.failure import WRAPPER
from helpers.doctor.lines import Line, parse
from helpers.doctor.signatures import Pattern, Signature
from helpers.doctor.words import ANCHORS, LATE, STATEFUL, TOLD, VARYING, anchored, any_of, informing, place_of
from helpers.errors import UsageError
from helpers.paths import shown

CHUNK = 4 << 20  # bytes; two of them are the most that is held
LONGEST = 1 << 20  # bytes of one line before it is cut
MAX_SHAPES = 100_000
SHORT = 300  # bytes
MAX_NOVEL = 2_000  # lines of different shapes from one place; of later ones those that hold a word of LATE are read
MAX_PLACES = 5_000
MAX_TRACEBACKS = 2_000  # after so many, a traceback is told by its exception line alone
FACTS = {  # what the report says about the run, first match wins
    "vllm": re.compile(r"(?:vLLM API server version|LLM engine \(v|vllm==|vLLM version:?)\s*v?(\d+\.\d+[\w.+]*)"),
    "model": re.compile(r"(?:model_tag|'model'|model)(?:': |=)'([^']+)'"),
    "args": re.compile(r"non-default args: (\{.*\})"),
    "attention": re.compile(r"Using (?:AttentionBackendEnum\.)?(\w+) (?:attention )?backend(?:\.| out of potential)"),
    "moe": re.compile(r"Using '?([\w ]+?)'? (?:Mxfp4|MXFP4|Unquantized) MoE backend"),
    "torch": re.compile(r"\btorch(?:==| version:? )\s*(\d+\.\d+[\w.+]*)"),
    "driver": re.compile(r"(?:Driver Version|driver version):? (\d+\.\d+[\w.]*)"),
}
STARTS = re.compile(r"vLLM API server version|Started server process")
STARTED = re.compile(r"Application startup complete")
STOPS = re.compile(  # the server announces its end; what follows is not a failure
    r"^(?:INFO:\s+)?Shutting down\b(?!.*executor)|^KeyboardInterrupt$|shutdown triggered|"
    r"[Rr]eceived (?:signal|SIG|KeyboardInterrupt)|received SIG(?:TERM|INT)|Waiting for application shutdown|"
    r"trigger received signal|API server: shutting down|^\^C"
)


@dataclass
class Match:
    """The first line that carries a signature (by class), outside a shutdown where there is one."""

    signature: Signature
    pattern: Pattern
    line: Line
    after_shutdown: bool = False
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """fatal, degraded or silent."""
        return self.signature.kind_of(self.pattern)


@dataclass
class Scan:
    """What one pass found."""

    tracker: Tracker
    matches: list[Match]
    facts: dict[str, str]
    stopped: int = 0  # line number of the last announced shutdown, 0 for none
    started: bool = False
    lines: int = 0
    size: int = 0
    tail: list[str] = field(default_factory=list)
    told: bool = False  # something in it reads like a server's log


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
        self.matches: dict[tuple[str, str, bool], Match] = {}
        self.stopped = self.stopped_child = 0
        self.started = False
        self.number = 0  # lines before the current piece
        self._patterns = [(p, s) for s in signatures for p in s.match]
        words = dict.fromkeys([*ANCHORS, *(p.anchor for p, _ in self._patterns if not anchored(p.anchor))])
        self._hot = any_of(words)
        self._told = [*TOLD, *(p.anchor for p, _ in self._patterns if p.info)]
        self._shapes: dict[bytes, bool] = {}  # shape of a line seen before: read it again?
        self._places: dict[bytes, int] = {}  # lines of new shapes by who wrote them
        self._telling: list[bytes] = []  # the words of `_told` that the present piece holds
        self._late: set[bytes] | None = None  # lines of the present piece that a crowded place may still show
        self._missing: list[bytes] | None = None  # anchors of the signatures that `_search` looks for
        self._data = b""
        self._tracebacks = 0

    def piece(self, data: bytes) -> None:
        """Take some whole lines."""
        rows = enumerate(data.split(b"\n"))
        if b"\r" in data:
            rows = ((i, part) for i, line in rows for part in line.split(b"\r") if part)
        batch: list[tuple[Line, bool]] = []
        shapes, opened, base = self._shapes, self.tracker.opened, self.number + 1
        self._telling, self._late, self._data = [word for word in self._told if word in data], None, data
        for i, raw in rows:
            shape = raw[:600].translate(None, VARYING)
            again = shapes.get(shape)
            fresh = again is None
            if fresh:
                again = self._novel(raw, shape)
            if again or opened:
                self._line(parse(raw[:LONGEST], base + i), batch, fresh)
        self.number += data.count(b"\n")
        self._signatures(batch)

    def _novel(self, raw: bytes, shape: bytes) -> bool:
        """Whether a line of a new shape is to be read now; remembers whether the next of its shape is, too."""
        if len(self._shapes) >= MAX_SHAPES:
            self._shapes.clear()
        informs = informing(raw)
        if informs and not any(word in raw for word in self._telling):
            if len(raw) < SHORT:  # a longer one has somebody's prompt in it and never comes again
                self._shapes[shape] = False
            return False
        place = place_of(raw)
        if place not in self._places and len(self._places) >= MAX_PLACES:
            place = b""
        count = self._places[place] = self._places.get(place, 0) + 1
        if count > MAX_NOVEL:
            read = raw in self._late_lines()
            return read and (b"Traceback (" not in raw or self._tracebacks < MAX_TRACEBACKS)
        read = informs or self._hot.search(raw) is not None
        again = read and STATEFUL.search(raw) is not None
        if again and b"Traceback (" in raw:
            again = self._tracebacks < MAX_TRACEBACKS
        self._shapes[shape] = again
        return read

    def _late_lines(self) -> set[bytes]:
        """The lines of the piece that are read even from a crowded place: those with signatures not met yet, too."""
        if self._late is None:
            data, ends = self._data, (b"\n", b"\r") if b"\r" in self._data else (b"\n",)
            missing = [p.anchor for p, s in self._patterns if not self._live(self._key(p, s))]
            if self._missing != missing:
                self._missing, self._search = missing, any_of([*LATE, *missing])
            self._late, done = set(), 0
            while found := self._search.search(data, done):
                start = max(data.rfind(end, done, found.start()) for end in ends) + 1 or done
                done = min(at for end in ends if (at := data.find(end, found.end())) >= 0 or (at := len(data)))
                self._late.add(data[start:done])
        return self._late

    @staticmethod
    def _key(pattern: Pattern, signature: Signature) -> tuple[str, str, bool]:
        return signature.id, signature.kind_of(pattern), pattern.wrapper

    def _live(self, key: tuple[str, str, bool]) -> bool:
        """Already matched outside a shutdown."""
        return key in self.matches and not self.matches[key].after_shutdown

    def _line(self, line: Line, batch: list[tuple[Line, bool]], fresh: bool) -> None:
        text = line.text
        if TRACEBACK in text:
            self._tracebacks += 1
            if self._tracebacks == MAX_TRACEBACKS:
                self._shapes.clear()
        if text:
            self._note(line)
        after = bool(self.stopped) or bool(self.stopped_child and (line.child or WRAPPER.search(text)))
        self.tracker.feed(line, after)
        if fresh and self._patterns:
            batch.append((line, after))

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
                self._places.clear()
                self.tracker.restart()
            self.stopped = self.stopped_child = 0
            self.started = self.tracker.started = False
        elif STARTED.search(text):
            self.started = self.tracker.started = True
        for name, pattern in FACTS.items():
            if name not in self.facts and (found := pattern.search(text)):
                self.facts[name] = found[1]

    def _signatures(self, batch: list[tuple[Line, bool]]) -> None:
        if not batch:
            return
        joined = "\n".join(line.text for line, _ in batch)
        for pattern, signature in self._patterns:
            key = self._key(pattern, signature)
            if self._live(key) or pattern.literal not in joined:
                continue
            for line, after in batch:
                if pattern.literal not in line.text or (line.level in ("INFO", "DEBUG") and not pattern.info):
                    continue
                if pattern.startup and self.started:
                    continue
                if (after and key in self.matches) or (groups := pattern.find(line.text)) is None:
                    continue
                self.matches[key] = Match(signature, pattern, line, after, groups)
                if not after:
                    break

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
            size, last = size + len(piece), piece[-4000:]
    except (OSError, EOFError) as error:  # a damaged .gz, a device error, a network file system gone
        raise UsageError("the log could not be read to its end", why=str(error), do="check the file") from error
    finally:
        if stream is not sys.stdin.buffer:
            stream.close()
    found = scanner.result(size)
    end = [parse(raw) for raw in last.splitlines() if raw.strip()]
    found.tail = [line.text for line in end][-5:]
    found.told = bool(found.facts) or found.started or any(line.level or line.stream for line in end)
    return found
