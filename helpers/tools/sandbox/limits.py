"""What a sandboxed program may use, and what one call came to."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Bounds on one conversation's interpreter; `seconds` and the output bounds hold per call."""

    seconds: float = 120.0  # what gpt-oss is told about its python tool ("time out after 120.0 seconds")
    grace_s: float = 1.0  # after the soft limit, before the sandbox is killed
    memory_bytes: int = 512 * MIB  # address space of each process; the whole tree may hold 1.25 times it
    processes: int = 32  # processes and threads together
    file_bytes: int = 32 * MIB  # size of one file
    disk_bytes: int = 64 * MIB  # of each writable tmpfs
    open_files: int = 128
    output_chars: int = 16_000  # shown to the model, about 4k tokens
    flood_bytes: int = 8 * MIB  # written in one call: beyond it the program is stopped
    start_s: float = 30.0

    def tree_bytes(self) -> int:
        """What all processes of one sandbox may hold together."""
        return self.memory_bytes * 5 // 4


# Why a call ended. "ok" and "error" leave the interpreter alive; so does "time" (the soft limit).
# The others have ended it, and the next call of the conversation gets a fresh one.
ENDED = {
    "killed-time": "ran past its {seconds:g} s and was stopped",
    "killed-memory": "used more than its {memory} MiB and was stopped",
    "killed-processes": "started more than its {processes} processes and was stopped",
    "killed-output": "wrote more than its {flood} MiB of output and was stopped",
    "died": "ended its own interpreter",
    "cancelled": "was cancelled",
}


@dataclass(frozen=True)
class CallOutcome:
    """One call: its status, the text for the model, and how many bytes the program wrote."""

    status: str
    text: str
    written: int = 0
    seconds: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether the interpreter, and with it the conversation's state, is still there."""
        return self.status not in ENDED


def note(status: str, limits: Limits) -> str:
    """The line that tells the model why its program was stopped; empty for an ordinary end."""
    if status == "time":
        return f"[The program ran past its {limits.seconds:g} s and was interrupted; its variables are kept.]"
    if status not in ENDED:
        return ""
    why = ENDED[status].format(
        seconds=limits.seconds,
        memory=limits.memory_bytes // MIB,
        processes=limits.processes,
        flood=limits.flood_bytes // MIB,
    )
    return f"[The program {why}; the next call starts a fresh interpreter.]"
