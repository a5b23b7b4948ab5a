"""One failure as the log tells it, and which of several came first."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from helpers.logs import CHILD

# Lines that report another process's failure, or the end of something that failed before.
WRAPPER = re.compile(
    r"Engine core initialization failed|Engine process failed to start|Frontend process failed during engine|"
    r"EngineDeadError|EngineGenerateError|EngineCore encountered an issue|See stack trace|root cause above|"
    r"stack trace above for the root cause|WorkerProc initialization failed|died unexpectedly|"
    r"Executor failed\.|ChildFailedError|ProcessExitedException|ProcessRaisedException|RayTaskError|"
    r"ActorDiedError|RayActorError|^(?:asyncio\.|concurrent\.)?[\w.]*Cancelled(?:Error)?$|RuntimeError: cancelled$|"
    r"^(?:Base)?ExceptionGroup: |^SystemExit|CalledProcessError: Command |zmq\.error\.ContextTerminated|"
    r"Error raised in subprocess|failed to be inspected|Ninja build failed|Error building extension|ninja: build stopped|"
    r"\b[Ee]xited with (?:exit )?code [1-9]|Error response from daemon: (?!.*container-cli: ).*OCI runtime create failed|"
    r"BrokenPipeError|ConnectionResetError|^EOFError$|"
    r"remote process exited|Connection (?:closed|reset) by (?:remote )?peer|Socket Timeout|Broken pipe"  # a peer's end
)
# A line of a message that goes on over several, and of what a process printed after its last words, that tells why.
TELLING = re.compile(
    r"^\W*(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception)(?:: |\()\S|^\s*what\(\):\s+\S|nvidia-container-cli: \S|"
    r"\b(?:nvcc|ptxas) fatal|: (?:fatal )?error: \S|^(?:CUDA|HIP|NCCL) error"
)
# Exceptions that Python code uses to steer; the error raised while handling one says more than it does.
STEERING = re.compile(r"^(?:[\w.]*\.)?(?:KeyError|StopIteration|StopAsyncIteration|Empty|CancelledError)\b")


@dataclass(slots=True)
class Failure:
    """One chain of exceptions, or one line that ended a process.

    `chain` holds the exception lines as printed, first cause first; `detail` what followed the first of them.
    """

    number: int
    stream: str
    kind: str  # traceback | line | parser | death | logged
    chain: list[str] = field(default_factory=list)
    detail: list[str] = field(default_factory=list)
    raised: list[bool] = field(default_factory=list)  # was chain[i] raised by a `raise` statement?
    at: list[int] = field(default_factory=list)  # the line number of chain[i]
    links: list[str] = field(default_factory=list)  # how chain[i] led to chain[i + 1]: cause | context
    handled: bool = False  # logged below ERROR, or ignored by Python itself
    request: bool = False  # one request failed, not the server
    fatal: bool = False  # a process announced that it ends because of it
    caught: bool = False  # a logger wrote it: whoever caught it may have gone on
    wraps: bool = False  # its message holds another process's traceback
    started: bool = False  # the server already answered when it came
    after_shutdown: bool = False

    @property
    def cause(self) -> int:
        """Index in `chain` of the first cause."""
        index = 0
        while index + 1 < len(self.chain):
            if WRAPPER.search(self.chain[index]) or (
                STEERING.match(self.chain[index])
                and self.links[index] == "context"
                and self.raised[index + 1]
                and not WRAPPER.search(self.chain[index + 1])
            ):
                index += 1
            else:
                break
        return index

    @property
    def line(self) -> str:
        """The first cause's exception line, exactly as the log has it."""
        return self.chain[self.cause] if self.chain else ""

    @property
    def line_number(self) -> int:
        """Where in the log `line` stands."""
        return self.at[self.cause] if self.cause < len(self.at) else self.number

    @property
    def telling(self) -> str:
        """The line of what follows the first exception line that says more than it, or ""."""
        return next((text for text in self.detail if TELLING.search(text)), "") if self.cause == 0 else ""

    @property
    def wrapper(self) -> bool:
        """It only reports a failure that happened elsewhere."""
        return self.wraps or bool(WRAPPER.search(self.line) and not self.telling)

    def message(self) -> str:
        """The exception line, with the lines that complete it where it is a list of validation errors, or a telling one."""
        if re.search(r"\d+ validation errors? for ", self.line):
            detail = [text for text in self.detail if "errors.pydantic.dev" not in text][:6]
            return "\n".join([self.line, *detail])
        return "\n".join(filter(None, [self.line, self.telling]))


def first_cause(failures: Iterable[Failure], harmless: Callable[[str], bool] | None = None) -> Failure | None:
    """The failure that started it all, or None.

    Failures that were handled, that belong to a single request, or that follow an announced shutdown do not
    count while another explains the end; one that was only logged gives way to one that ended its process.
    `harmless(line)` tells lines that are known to end nothing when they are logged or answered to one request.
    """
    known = harmless or (lambda line: False)
    # Tracebacks of several processes interleave: the exception that was printed first came first.
    printed = sorted((f for f in failures if f.chain), key=lambda f: f.line_number)
    alive = [f for f in printed if not f.after_shutdown and not f.handled]
    real = [f for f in alive if f.fatal or not ((f.kind != "traceback" or f.request) and known(f.line))]
    roots = [f for f in real if not f.wrapper]
    ended = [f for f in real if f.wrapper or f.fatal]
    server = [f for f in roots if not f.request]
    if ended and server:
        deadly = [f for f in server if f.fatal or not (f.started or f.caught)]
        early = [f for f in server if not f.started]
        return (deadly or early or [f for f in server if f.number <= ended[0].number] or server)[0]
    for pool in (server, ended, roots, real):  # a request that failed ends no engine
        if pool:
            return pool[0]
    return None


def any_ended(failures: Iterable[Failure]) -> bool:
    """Whether a process ended because of any of them, or was reported to have."""
    return any((f.fatal or f.wrapper) and not f.after_shutdown and not f.handled for f in failures)


def one_request(first: Failure, failures: Iterable[Failure]) -> bool:
    """Whether `first` failed one request of a server that had started and went on: nothing ended a process since."""
    child = CHILD.match(first.stream) is not None
    return first.started and not any_ended(failures) and (first.request or (first.caught and not child))
