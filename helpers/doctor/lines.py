"""One log line taken apart: who printed it, at what level, and what it says.

vLLM's processes share one output. Each line may carry, in this order: what a container runtime or a
journal put before it, the process (`(EngineCore pid=7)`), the rank (`[rank0]:`) and the logger's header
(`ERROR 11-22 14:05:14 [core.py:559]`). Colours and carriage returns come on top.
"""

import re
from dataclasses import dataclass

ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\^_]")
RUNTIME = re.compile(  # docker compose, kubectl, container and systemd journals, the kernel's ring buffer
    r"""^(?:
        [\w][\w.-]*\s*\|\s(?=\S|\s)                                             # vllm-1  | text
      | \[pod/[^\]]+\]\s
      | \[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?\s(?:std(?:out|err)\s[FP]\s)?
      | [A-Z][a-z]{2}\s+\d+\s\d\d:\d\d:\d\d\s\S+\s[\w.@/-]+(?:\[\d+\])?:\s
      | \[\s*\d+\.\d{6}\]\s
    )""",
    re.VERBOSE,
)
PROCESS = re.compile(r"^\**\(([A-Za-z][\w ./:@-]*?),? (?:pid|ip)=([^)]*)\)\**:?[ ]?")
RANK = re.compile(r"^\[(?:default)?rank(\d+)\]:?[ ]?")
HEADER = re.compile(  # vLLM, old and new; the last group of digits is absent in WARNING:logger:text
    r"^(DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL)"
    r"(?: (?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)? \[?([\w./<>-]+:\d+)\][ ]?|: {1,8}|:[\w.]+:)"
)
GLOG = re.compile(r"^\[?([EWIF])\d{4} \d\d:\d\d:\d\d\.\d+ +(?:\d+ )?([\w./-]+:\d+)\] ?")
GLOG_LEVEL = {"E": "ERROR", "W": "WARNING", "I": "INFO", "F": "FATAL"}
CHILD = re.compile(r"^(?:EngineCore|Worker|VllmWorker|Ray|DPCoord|DP\d)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `number` counts from 1; `level` and `where` are empty for text printed without a logger."""

    number: int
    stream: str
    level: str
    where: str
    text: str

    @property
    def child(self) -> bool:
        """Printed by an engine or a worker rather than by the server that owns them."""
        return bool(CHILD.match(self.stream))


def plain(text: str) -> str:
    """The text without colour codes and without the blanks at its end."""
    return ANSI.sub("", text).rstrip() if "\x1b" in text else text.rstrip()


def parse(raw: bytes, number: int = 0) -> Line:
    """Take one raw line (no line end) apart; bytes that are not UTF-8 are replaced."""
    text = plain(raw.decode("utf-8", "replace"))
    while (match := RUNTIME.match(text)) and match.end() < len(text):
        text = text[match.end() :]
    stream = level = where = ""
    for _ in range(3):  # a Ray actor may carry two process tags
        if match := PROCESS.match(text):
            stream = f"{match[1]} {match[2]}".strip()
        elif match := RANK.match(text):
            stream = f"{stream} rank{match[1]}".strip()
        else:
            break
        text = text[match.end() :]
    if match := HEADER.match(text):
        level, where, text = match[1], match[2] or "", text[match.end() :]
    elif match := GLOG.match(text):
        level, where, text = GLOG_LEVEL[match[1]], match[2], text[match.end() :]
    return Line(number, stream, level, where, text)
