"""What a server's log says about itself: the backends it chose and the memory it measured."""

import re
from pathlib import Path

_BACKENDS = {
    "attention": re.compile(
        rb"Using (?:AttentionBackendEnum\.)?(\w+) attention backend"
        rb"|Using (?:AttentionBackendEnum\.)?(\w+) backend(?:\.| \(selected via| out of potential)"  # ROCm's wording
    ),
    "moe": re.compile(rb"Using '(\w+)' (?:Mxfp4|MXFP4|Unquantized) MoE backend|Using (CPU) Unquantized MoE backend"),
}
_MEMORY = {
    "weights_gib": re.compile(rb"Model loading took ([\d.]+) GiB"),
    "kv_cache_gib": re.compile(rb"Available KV cache memory: ([\d.]+) GiB"),
    "kv_cache_tokens": re.compile(rb"(?:GPU|CPU) KV cache size: ([\d,]+) tokens"),
    "graphs_gib": re.compile(rb"Graph capturing finished in \d+ secs, took ([\d.]+) GiB"),
}


def backends(log: Path) -> dict[str, str]:
    """The attention and MoE backends by name; a kind that the log does not name is absent."""
    return {kind: value.decode() for kind, value in _found(log, _BACKENDS).items()}


def memory(log: Path) -> dict[str, float]:
    """Weights and KV cache in GiB, KV cache in tokens, as far as the log says so."""
    return {kind: float(value.replace(b",", b"")) for kind, value in _found(log, _MEMORY).items()}


def _found(log: Path, patterns: dict[str, re.Pattern]) -> dict[str, bytes]:
    """The last thing said about each kind: a run that serves two models logs both, the measured one last."""
    text = Path(log).read_bytes()
    found = {kind: list(pattern.finditer(text)) for kind, pattern in patterns.items()}
    return {kind: next(group for group in all_[-1].groups() if group) for kind, all_ in found.items() if all_}
