"""Finds, in the lines of several interleaved processes, each failure.

A failure is a chain of exceptions (a Python traceback with its "direct cause" and "during handling" links),
or a line that ends a process without one: an argument parser's error, the kernel's out-of-memory killer,
a signal, a compiler.
"""

import re
from dataclasses import dataclass

from helpers.doctor.failure import Failure
from helpers.logs import Line

MAX_EVENTS = 400  # later ones repeat what came before; the first cause is never among them
MAX_FRAMES = 3000  # lines of one traceback before it is given up
MAX_ALIKE = 5  # failures kept of one kind
MAX_IDLE = 500  # lines of other processes in the middle of a traceback before it is given up
MAX_DETAIL = 25  # lines kept after an exception line

TRACEBACK = "Traceback (most recent call last)"
EXCEPTION = re.compile(
    r"^(?:[A-Za-z_][\w]*\.)*(?:[A-Z]\w*(?:Error|Exception|Interrupt|Timeout|Failure|Exit|Group|Warning|Died|"
    r"Resources|Unavailable|NotFound|Refused|Cancelled)|Exception|Empty|Full|KeyboardInterrupt)(?:: .*|:)?$"
)
LAST_LINE = re.compile(r"^(?:[A-Za-z_][\w]*\.)*[A-Za-z_]\w*(?:\[[^\]]*\])?(?:: .*|:)?$")  # ends a traceback
PARSER = re.compile(r"^[\w./-]+(?: [\w-]+)*: error: \S")  # argparse and the like
DEATHS = re.compile(  # a process that ended without a Python exception: how its line begins
    r"Killed$|Segmentation fault|Illegal instruction|Bus error|Aborted(?: |$)|Fatal Python error: |"
    r"!+ Segfault encountered !+|\*\*\* SIG(?:SEGV|BUS|ABRT|ILL|FPE) received at|terminate called after throwing|"
    r"ptxas (?:fatal|error)|nvcc (?:fatal|error)|ninja: build stopped|(?:docker: )?Error response from daemon: |"
    r"nvidia-container-cli: |[\w.-]+ exited with code (?!0|130|137|143)\d|Memory access fault by GPU|HW Exception by GPU|"
    r"(?:Failed: )?C(?:UDA|uda) (?:\w+ )?[Ee]rror\b|HIP error|LLVM ERROR: |Abort was called at |"
    r"\*\*\* stack smashing|thread '[^']*' panicked at |"
    r"double free|corrupted (?:size|double)|free\(\): |malloc\(\): |munmap_chunk\(\): |realloc\(\): |"
    r"error: .*(?:No solution|no version of|[Ff]ailed to|[Cc]ould not|[Dd]istribution)|"
    r"\s*ERROR: (?:Could not|No matching|Failed|Cannot)"
)
DEATHS_WITHIN = re.compile(  # and what stands anywhere in it
    r"\bKilled +(?:vllm|python|uv|exec|timeout|\S*/)|[Oo]ut of memory: Kill(?:ed)? process|\boom-kill(?:er)?[: ]|"
    r"\bOOMKilled\b|\((?:core dumped|SIGKILL|SIGSEGV|SIGBUS|SIGABRT|SIGILL)\)|\bHSA_STATUS_ERROR|× No solution found|"
    r": (?:Segmentation fault|Illegal instruction|Bus error|Aborted)(?: |$)|^ *CMake Error[ :]|"
    r"(?:^|: )(?:vllm|uv|docker|python3?|nvcc|ninja): (?:command )?not found|:\d+: .*Assertion [`'].*failed\.?$"
)
# one of these stands in each of them: plain look-ups before the search
WITHIN = ("ill", "dumped", "SIG", "HSA_S", "solution", "fault", "Bus", "bort", "not found", "Assert", "CMake")
DEATH_HEAD = re.compile(
    r"EngineCore failed to start|EngineCore encountered a fatal error|EngineCore hit an exception|"
    r"WorkerProc failed to start|WorkerProc hit an exception|Exception in worker|^Process [\w:-]+:$"
)
REQUEST_HEAD = re.compile(
    r"Exception in ASGI application|Error in (?:chat completion|completion|responses?|preprocessing|streaming)|"
    r"Error (?:while )?(?:processing|handling|generating) .*request|Error with request|Task exception was never"
)
COMPILER = re.compile(
    r"^(?:\S+:\d+(?::\d+)?: |\S*(?:cc1plus|cc1|gcc|g\+\+|clang): )(?:fatal )?error: \S|^\S*ld: cannot find "
)
IGNORED_HEAD = re.compile(r"^Exception ignored (?:in|on)|^Error in atexit|^Error in sys\.excepthook")
CAUSE = "The above exception was the direct cause of"
CONTEXT = "During handling of the above exception"
GROUP = re.compile(r"^\s*(?:\|\s?|\+[-+]+(?:\s*\d+\s*-+)?|\+\s(?=Exception Group))+")
QUIET = ("DEBUG", "INFO", "WARNING")


def _died(text: str) -> bool:
    return bool(DEATHS.match(text) or (any(word in text for word in WITHIN) and DEATHS_WITHIN.search(text)))


@dataclass(slots=True)
class _Open:
    """A traceback being read in one stream."""

    failure: Failure
    key: tuple[str, str]
    frames: bool = True
    raised: bool = False
    length: int = 0
    link: str = ""


class Tracker:
    """Reads lines in order and collects failures; knows per stream whether a traceback is open."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.logged: list[Failure] = []  # ERROR lines without an exception: the last resort
        self.opened: dict[str, _Open] = {}  # tracebacks being read, by stream; while there is one, feed every line
        self._head: dict[str, str] = {}  # the last line before a traceback, by stream
        self._seen: set[str] = set()
        self._kept: dict[tuple, int] = {}
        self._idle = 0  # lines since an open traceback last grew
        self._first = 0  # how many failures were there when the server now read introduced itself
        self.started = False

    @property
    def full(self) -> bool:
        """Enough failures were collected; only what ends a process is still of interest."""
        return len(self.failures) >= MAX_EVENTS

    def feed(self, line: Line, after_shutdown: bool) -> None:
        """Take one line."""
        text = line.text
        if "|" in text[:12] or "+ Exception Group" in text or "+-" in text[:12]:
            text = GROUP.sub("", text)
        key = (line.level, line.where)
        open_ = self.opened.get(line.stream)
        self._idle += 1
        if self._idle > MAX_IDLE:  # the process died while it wrote
            self.opened.clear()
        if TRACEBACK in text:
            self._start(line, key, open_, after_shutdown)
            return
        if open_ and open_.key == key:
            self._continue(line, text, open_, after_shutdown)
            if line.stream in self.opened:
                return
        elif open_ and not open_.frames and text:
            del self.opened[line.stream]
        self._alone(line, text, after_shutdown)

    def _start(self, line: Line, key: tuple[str, str], open_: _Open | None, after_shutdown: bool) -> None:
        if open_ and not open_.frames and open_.link and open_.key == key:
            open_.failure.links.append(open_.link)
            open_.frames, open_.raised, open_.length, open_.link = True, False, 0, ""
            return
        if open_ and not open_.frames and open_.key == key:  # an exception whose message ends in "...:", then this
            said = [open_.failure.chain[-1], *open_.failure.detail][-1]
            open_.failure.wraps |= said.rstrip().endswith(":")
        head = self._head.pop(line.stream, "")
        if self.full and not DEATH_HEAD.search(head):
            return
        group = open_.failure if open_ and "sub-exception" in open_.failure.line else None  # its parts tell more
        if group:
            group.handled = True
        failure = Failure(
            line.number,
            line.stream,
            "traceback",
            handled=line.level in QUIET or bool(IGNORED_HEAD.search(head)),
            request=bool(REQUEST_HEAD.search(head) or (group and group.request)),
            fatal=bool(DEATH_HEAD.search(head) or (group and group.fatal)),
            started=self.started,
            after_shutdown=after_shutdown,
            caught=bool(line.where),
        )
        self.failures.append(failure)
        self.opened[line.stream], self._idle = _Open(failure, key), 0

    def _continue(self, line: Line, text: str, open_: _Open, after_shutdown: bool) -> None:
        open_.length += 1
        self._idle = 0
        if open_.length > (MAX_FRAMES if open_.frames else 3 * MAX_DETAIL):
            del self.opened[line.stream]
            return
        if not text.strip():
            return
        if open_.frames:
            if text[0] in " \t│╭╰┃┏┗❱|^~":
                if text.startswith("    ") and not set(text.strip()) <= set("^~"):
                    open_.raised = text.strip().startswith("raise ")
                return
            if LAST_LINE.match(text) or EXCEPTION.match(text):
                open_.failure.chain.append(text)
                open_.failure.raised.append(open_.raised)
                open_.failure.at.append(line.number)
                open_.failure.after_shutdown |= after_shutdown
                open_.frames, open_.length = False, 0
                open_.failure.handled |= text == "KeyboardInterrupt"
                if len(open_.failure.chain) == 1 and self._repeats(open_.failure):
                    self.failures.remove(open_.failure)
            elif not PARSER.match(text):
                return  # a frame's text that does not look like one: keep reading
            else:
                del self.opened[line.stream]
            return
        if text.startswith(CAUSE):
            open_.link = "cause"
        elif text.startswith(CONTEXT):
            open_.link = "context"
        elif open_.link:
            del self.opened[line.stream]
        elif len(open_.failure.chain) == 1 and len(open_.failure.detail) < MAX_DETAIL:
            if DEATH_HEAD.search(text) if line.where else self._ends(text):  # what C prints has no logger's header
                del self.opened[line.stream]
            else:
                open_.failure.detail.append(text)

    def _repeats(self, failure: Failure) -> bool:
        """Enough failures like it are kept: the same exception but for numbers, in the same part of a run."""
        shape = re.sub(r"[0-9a-f]+", "", failure.line[:300])
        key = (shape, failure.request, failure.fatal, failure.started, failure.after_shutdown, failure.handled)
        self._kept[key] = self._kept.get(key, 0) + 1
        return self._kept[key] > MAX_ALIKE and len(self._kept) < 50_000

    @staticmethod
    def _ends(text: str) -> bool:
        """The line cannot belong to an exception's message: it tells of a failure itself."""
        return bool(
            _died(text)
            or COMPILER.match(text)
            or PARSER.match(text)
            or DEATH_HEAD.search(text)
            or IGNORED_HEAD.search(text)
        )

    def _alone(self, line: Line, text: str, after_shutdown: bool) -> None:
        if not text.strip():
            return
        if line.level in QUIET:
            return
        self._head[line.stream] = text[:400]
        kind = ""
        if PARSER.match(text):
            kind = "parser"
        elif _died(text):
            kind = "death"
        elif COMPILER.match(text):
            kind = "compiler"
        elif EXCEPTION.match(text):
            kind = "line"
        elif line.level in ("ERROR", "CRITICAL", "FATAL"):
            inner = re.search(r"(?:^|[:\s'\"(])((?:[a-zA-Z_]\w*\.)*[A-Z]\w*(?:Error|Exception)\b(?:: |\().*)$", text)
            if inner and not REQUEST_HEAD.search(text) and not DEATH_HEAD.search(text):
                kind = "line"
            elif len(self.logged) < MAX_EVENTS and not DEATH_HEAD.search(text):
                self.logged.append(self._single(line, "logged", text, after_shutdown))
        if not kind or (kind != "death" and (self.full or text in self._seen)):
            return
        if len(self._seen) < 10_000:
            self._seen.add(text)
        failure = self._single(line, kind, text, after_shutdown)
        if not self.full or kind == "death":
            self.failures.append(failure)
        self.opened[line.stream], self._idle = _Open(failure, (line.level, line.where), frames=False), 0

    def _single(self, line: Line, kind: str, text: str, after_shutdown: bool) -> Failure:
        return Failure(
            line.number,
            line.stream,
            kind,
            [text],
            raised=[False],
            fatal=kind in ("parser", "death"),
            started=self.started,
            after_shutdown=after_shutdown,
            caught=bool(line.where),
            handled=text == "KeyboardInterrupt",
        )

    def banner(self) -> None:
        """A server introduces itself: what comes now is its own."""
        self._first = len(self.failures)

    def ready(self) -> None:
        """The server is up: what it met on the way and outlived was no failure."""
        self.started = True
        for failure in self.failures[self._first :]:
            failure.handled |= not failure.fatal

    def restart(self) -> None:
        """Another server begins after one that was stopped: what it says counts, though the first said it as well."""
        self.failures = [failure for failure in self.failures if not failure.after_shutdown]
        self.logged = [failure for failure in self.logged if not failure.after_shutdown]
        for memory in (self._seen, self._kept, self._head, self.opened):
            memory.clear()
