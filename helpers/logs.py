"""vLLM's log: the one table of lines that are read out of it, and a line taken apart.

vLLM's processes share one output. Each line may carry, in this order: what a container runtime or a
journal put before it, the process (`(EngineCore pid=7)`), the rank (`[rank0]:`) and the logger's header
(`ERROR 11-22 14:05:14 [core.py:559]`). Colours and carriage returns come on top.
"""

import re
from dataclasses import dataclass
from pathlib import Path

# What a server says about itself (vLLM 0.10 to 0.32.0). Each pattern has one group: the value.
SAID = {
    "vllm": re.compile(
        r"(?:vLLM API server version|LLM engine \(v|vllm==|vLLM version:?|█ +version)\s*v?(\d+\.\d+[\w.+]*)"
    ),
    "model": re.compile(r"(?:non-default args|LLM engine).*?(?:model_tag'|'model'|model)(?:: |=)'([^']+)'"),
    "args": re.compile(r"non-default args: (\{.*\})"),
    "torch": re.compile(r"\btorch(?:==| version:? )\s*(\d+\.\d+[\w.+]*)"),
    "driver": re.compile(r"(?:Driver Version|driver version):? (\d+\.\d+[\w.]*)"),
    # platforms/cuda.py, platforms/rocm.py (the second wording) and fused_moe/oracle of vLLM 0.32.0
    "attention": re.compile(
        r"Using (?:AttentionBackendEnum\.)?(\w+) (?:attention backend|backend(?:\.| \(selected via| out of potential))"
    ),
    "moe": re.compile(r"Using '?(\w+)'? (?:Mxfp4|MXFP4|Unquantized) MoE backend"),
    "weights_gib": re.compile(r"Model loading took ([\d.]+) GiB"),
    "kv_cache_gib": re.compile(r"Available KV cache memory: ([\d.]+) GiB"),
    "kv_cache_tokens": re.compile(r"(?:GPU|CPU) KV cache size: ([\d,]+) tokens"),
    "graphs_gib": re.compile(r"Graph capturing finished in \d+ secs, took ([\d.]+) GiB"),
}
RUN_FACTS = ("vllm", "model", "args", "attention", "moe", "torch", "driver")  # what the doctor's report names
BACKENDS = ("attention", "moe")
MEMORY = ("weights_gib", "kv_cache_gib", "kv_cache_tokens", "graphs_gib")

# The first line of each phase of a start (0.25.1 and 0.32.0). A phase lasts until the next one begins.
PHASES = {
    "arguments": re.compile(r"non-default args"),
    "engine": re.compile(r"Initializing a V1 LLM engine"),
    "weights": re.compile(r"Starting to load model"),
    "profile": re.compile(r"Loading weights took|Model loading took"),
    "compile": re.compile(r"torch_compile_cache|Dynamo bytecode|Compiling a graph|Start compiling function"),
    "warm-up": re.compile(r"KV cache size: |Warming up|Capturing CUDA graphs"),
    "http": re.compile(r"Starting vLLM server|Starting vLLM API server|Started server process"),
}

# What is said again and again while one waits: shm_broadcast.py once a minute, ray_utils.py with the seconds so far
# (0.10 to 0.32.0), v1/engine/utils.py every ten. Lines that tell of no progress may come between.
HEARTBEAT = re.compile(
    r"broadcast block found in (\d+) seconds|placement group of specs for (\d+) seconds|"
    r"Waiting for \d+ (?:local, \d+ remote )?core engine proc"
)
IDLE = re.compile(r'^$|"GET /(?:health|metrics|ping|load|version|v1/models)\b|generation throughput: 0\.0 tokens/s')
STARTS = re.compile(r"vLLM API server version|Started server process")
STARTED = re.compile(r"Application startup complete")
STOPS = re.compile(  # the server announces its end; what follows is not a failure
    r"^(?:INFO:\s+)?Shutting down\b(?!.*executor)|^KeyboardInterrupt$|shutdown triggered|"
    r"[Rr]eceived (?:signal|SIG|KeyboardInterrupt)|received SIG(?:TERM|INT)|Waiting for application shutdown|"
    r"trigger received signal|API server: shutting down|^\^C"
)

ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\^_]")
RUNTIME = re.compile(  # docker compose, kubectl, container and systemd journals, the kernel's ring buffer
    r"""^(?:
        [\w][\w.-]*\s*\|\s(?=\S|\s)                                             # vllm-1  | text
      | \[pod/[^\]]+\]\s
      | \d{1,4}:\s(?=[(\[A-Z\s])                                                # srun --label
      | \[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?\s(?:std(?:out|err)\s[FP]\s)?
      | [A-Z][a-z]{2}\s+\d+\s\d\d:\d\d:\d\d\s\S+\s[\w.@/-]+(?:\[\d+\])?:\s
      | \[\s*\d+\.\d{6}\]\s
    )""",
    re.VERBOSE,
)
PROCESS = re.compile(r"^\**\(([A-Za-z][\w ./:@=-]*?),? (?:pid|ip)=([^)]*)\)\**:?[ ]?")
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


def backends(log: Path) -> dict[str, str]:
    """The attention and MoE backends by name; a kind that the log does not name is absent."""
    return _last_said(log, BACKENDS)


def memory(log: Path) -> dict[str, float]:
    """Weights, KV cache and CUDA graphs in GiB, KV cache in tokens, as far as the log says so."""
    return {kind: float(value.replace(",", "")) for kind, value in _last_said(log, MEMORY).items()}


def _last_said(log: Path, kinds: tuple[str, ...]) -> dict[str, str]:
    """The last thing said about each kind: a run that serves two models logs both, the measured one last."""
    text = Path(log).read_text(encoding="utf-8", errors="replace")
    said = {kind: SAID[kind].findall(text) for kind in kinds}
    return {kind: values[-1] for kind, values in said.items() if values}
