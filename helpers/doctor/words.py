"""The words that decide which lines of a log are read, and the search for many of them at once."""

import re
from functools import lru_cache

ANCHORS = (  # a line worth taking apart holds one of these, or of NOTED
    b"Traceback (",
    b"Error",
    b"error",
    b"ERROR",
    b"xception",
    b"CRITICAL",
    b"FATAL",
    b"fatal",
    b"Killed",
    b"killed",
    b"OOMKill",
    b"oom-kill",
    b"core dumped",
    b"fault",
    b"Bus ",
    b"Illegal ",
    b"Abort",
    b"SIG",
    b"not found",
    b"No solution",
    b"build stopped",
    b"terminate called",
    b"what():",
    b"CUDA",
    b"HIP",
    b"Assertion",
    b"exited with",
    b"panicked",
    b"smashing",
    b"double free",
    b"corrupted",
    b"free(): ",
    b"alloc(): ",
    b"chunk(): ",
    b"cannot find",
    b"container-cli",
)
NOTED = (  # a line that tells of the server's life or names one of the run's facts holds one of these
    b"hutting down",
    b"hutdown",
    b"eceived signal",
    b"eceived SIG",
    b"Interrupt",
    b"^C",
    b"Application startup complete",
    b"Started server process",
    b"vLLM API server version",
    b"vLLM version",
    b"  version ",
    b"vllm==",
    b"non-default args",
    b"LLM engine (v",
    b"attention backend",
    b"backend (selected",
    b"backend out of",
    b"MoE backend",
    b"torch==",
    b"torch version",
    b"river version",
    b"Driver Version",
)
# Their every occurrence counts; of other lines only the first of its shape does.
EVERY_TIME = (*NOTED, b"Traceback (", b"Killed", b"Failed core proc", b"EngineDead")
# The letters of logs and of the prompts in them, the most frequent first.
COMMON = b" etaoinsrhldcumfpgwybvkxjqz0123456789:.-/()[],INFOERAPSTLDM_='\""
DIGITS = b"0123456789"
VARYING = DIGITS + b"abcdef.-"  # deleted to get a line's shape: numbers, times, hexadecimal ids


@lru_cache(maxsize=16)
def any_of(words: frozenset[bytes]) -> re.Pattern[bytes]:
    """A search that hits where one of `words` stands, forty times faster than their plain alternation.

    Each word is searched from its rarest letter on, what stands before it is looked back at, and words are grouped by
    that letter and the next one, so that the engine can skip to the few places where one may be. A word that holds
    another one is found with it.
    """
    groups: dict[bytes, dict[bytes, list[bytes]]] = {}
    for word in sorted(word for word in words if not any(other in word for other in words if other != word)):
        place = min(range(len(word)), key=lambda i: (_frequency(word[i]), i))
        rest = re.escape(word[place + 2 :]) + b"(?<=" + re.escape(word) + b")"
        groups.setdefault(word[place : place + 1], {}).setdefault(word[place + 1 : place + 2], []).append(rest)
    parts = [
        re.escape(first)
        + b"(?:"
        + b"|".join(re.escape(second) + b"(?:" + b"|".join(rests) + b")" for second, rests in seconds.items())
        + b")"
        for first, seconds in sorted(groups.items())
    ]
    return re.compile(b"|".join(parts))


def _frequency(letter: int) -> int:
    """How often a letter stands in logs and prompts, roughly."""
    place = COMMON.find(letter)
    return 0 if place < 0 else len(COMMON) - place
