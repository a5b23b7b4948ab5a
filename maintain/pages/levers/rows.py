"""The rows of the levers' evidence: which there are, what they are called, how two compare."""

import json
from typing import Any

from helpers.paths import RECORDS

BARE, BASE = "bare vllm serve", "base of the levers"
BOTH = "FP8 + EAGLE3"
SHORT = {
    BASE: "throughput profile",
    "FP8 activations (humming)": "FP8",
    "EAGLE3 (acceptance 2.72)": "EAGLE3",
    "FP8 KV cache (full attention)": "FP8 KV cache",
    "each compilation logged": "throughput profile, 7 CUDA graphs, each compilation logged",
}
BASES = (BARE, SHORT[BASE], "FP8")  # what others are held against
LENGTHS = (1024, 1024)
MODELS = ("gpt-oss-20b", "gpt-oss-120b")
Lever = dict[int, dict[str, Any]]  # a row of the evidence by concurrency


def read(target: str) -> list[dict[str, Any]]:
    """Every row of a target's evidence at the lengths of this study; none where there is no such file."""
    file = RECORDS / target / "evidence" / "levers.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    return [one for one in rows if (one["input_tokens"], one["output_tokens"]) == LENGTHS]


def singles(target: str, model: str) -> list[dict[str, Any]]:
    """The rows of a model's levers on one GPU, each with its `name`, oldest first."""
    rows = [one for one in read(target) if one["model"] == model and one["tensor_parallel_size"] == 1]
    return [one | {"name": name_of(one["variant"])} for one in rows if one["variant"]]


def levers(target: str, model: str) -> dict[str, Lever]:
    """The levers of a model on one GPU by name, the newest measurement of each concurrency.

    Each has under `bases` the rows by name that it is held against: those of its own host where they ran there, else the newest.
    """
    own, found = singles(target, model), {}
    for one in own:
        found.setdefault(one["name"], {})[one["concurrency"]] = one
    for one in own:
        rows = [row for row in own if row["name"] in BASES and row["concurrency"] == one["concurrency"]]
        nearest = sorted(
            rows, key=lambda row: same_host(row, one)
        )  # the last one wins: a host's own, of those the newest
        one["bases"] = {row["name"]: row for row in nearest if row["name"] != one["name"]}
    return found


def other_hosts(target: str, model: str) -> list[tuple[str, dict[str, Lever]]]:
    """(day, levers by name) of each host whose measurements newer ones have replaced in `levers`, oldest first."""
    found: dict[tuple, dict[str, Lever]] = {}
    for one in singles(target, model):
        found.setdefault(host_of(one), {}).setdefault(one["name"], {})[one["concurrency"]] = one
    newest = levers(target, model)
    replaced = [
        (host[0], {name: points for name, points in own.items() if host_of(newest[name][max(points)]) != host})
        for host, own in found.items()
    ]
    return sorted(((day, own) for day, own in replaced if own), key=lambda pair: pair[0])


def name_of(variant: str) -> str:
    """A lever's name as this page writes it.

    >>> name_of("FP8 activations (humming), EAGLE3 (acceptance 2.72)")
    'FP8 + EAGLE3'
    """
    return " + ".join(SHORT.get(word, word) for word in variant.split(", "))


def measured() -> list[tuple[str, str]]:
    """(target, model) of each that has a lever beside something to compare it with."""
    return [
        (target, model)
        for target in ("h200", "h100")
        for model in MODELS
        if len(found := levers(target, model)) > 1 and set(found) - {BARE, SHORT[BASE]}
    ]


def same_host(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows come from one campaign on one host."""
    return host_of(one) == host_of(other)


def host_of(one: dict[str, Any]) -> tuple[str, str, str]:
    """The campaign that a row comes from, which ran on one host; later days sort last."""
    return one["day"], one["host"], one["commit"]


def ratio(one: dict[str, Any], base: dict[str, Any], key: str) -> float:
    """How many times better a row is: output tok/s, or one user's tok/s (1 / TPOT)."""
    return one[key] / base[key] if key == "output_tok_s" else base[key] / one[key]


def accepted(one: dict[str, Any]) -> float:
    """The tokens that a step gave, the mean of a row's takes."""
    return sum(take["acceptance"] for take in one["takes"]) / len(one["takes"])


def elsewhere(name: str) -> bool:
    """Whether a lever is `BOTH` with the acceptance set to another number of tokens than this page's."""
    return name.startswith(f"{BOTH} (acceptance ")


def step_ms(one: dict[str, Any]) -> float:
    """Milliseconds of a decode step that verifies drafts: those of a token, times the tokens that it gave."""
    return one["tpot_ms"] * accepted(one)


def beside(found: dict[str, Lever], name: str) -> str:
    """What a lever is held against: bare vLLM where that ran on its host, else the throughput profile that did, else ""."""
    there = {n for one in found[name].values() for n, base in one["bases"].items() if same_host(base, one)}
    return next((n for n in (BARE, SHORT[BASE]) if n in there), "")


def pairs(found: dict[str, Lever], name: str, base: str) -> dict[int, tuple[dict[str, Any], dict[str, Any]]]:
    """By concurrency the rows of a lever with those that they are held against, where there are both."""
    return {n: (one, one["bases"][base]) for n, one in sorted(found.get(name, {}).items()) if base in one["bases"]}


def one_host(target: str, model: str, vllm: str) -> str:
    """Several GPUs against bare vLLM on one GPU of the same host, at equal load per GPU; empty where no host has both."""
    rows = [one for one in read(target) if one["model"] == model and one["versions"].get("vllm") == vllm]
    bare = {(host_of(one), one["concurrency"]): one for one in rows if one["variant"] == BARE}
    gave: dict[str, list[str]] = {}
    for one in rows:
        size = one["tensor_parallel_size"]
        base = bare.get((host_of(one), one["concurrency"] / size)) if size > 1 and not one["variant"] else None
        if base:
            share = one["output_tok_s"] / size / base["output_tok_s"]
            gave.setdefault(f"TP{size}", []).append(f"{share:.2f}x at {base['concurrency']}")
    return "\n\n".join(
        f"**On one host** {model} {label} gave, in output tok/s per GPU against bare vLLM on one of its GPUs: {', '.join(found)} "
        "requests per GPU."
        for label, found in gave.items()
    )
