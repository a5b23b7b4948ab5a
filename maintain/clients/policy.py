"""What topics/policy.ipynb does beside a chat server: a verdict by a policy, and personal data masked before it is asked.

openai/privacy-filter labels every token of a text in one pass; vLLM serves it with `--runner pooling` on /pooling. Its labels
say where a token stands in a span: B begins one, I is inside, E ends it, S is a span of its own, O is none.
"""

import hashlib
import json
import math
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import CookbookError
from helpers.paths import CACHE, ROOT
from helpers.processes import free_port
from helpers.recipes import load_model
from helpers.recipes.command.serve import Command, flags_and_env
from helpers.server.launch import Server, launch

if TYPE_CHECKING:
    import httpx
    from openai import OpenAI

    from helpers.runs.run import Run

NAME, TRAINING, TRAINING_S = "privacy-filter", ROOT / "nano" / "training" / "privacy.py", 300
CPU = {
    "--dtype": ("float32",),
    "--enforce-eager": (),
    "--max-model-len": ("1024",),
    "--max-num-batched-tokens": ("1024",),
}
TOKENS = 400  # of a verdict with its thoughts
LEAST = 1e-9  # of a probability
Labels = list[str]  # by their place in the model's answer


@dataclass(frozen=True)
class Span:
    """Characters of a text that the model holds for personal."""

    begin: int
    end: int  # the one after the last
    label: str


@dataclass(frozen=True)
class Verdict:
    """What a model says of a text under a policy, and why."""

    violation: bool
    rule: str
    reasoning: str


def verdict(
    client: "OpenAI", model: str, policy: str, rules: Sequence[str], text: str, effort: str = "medium"
) -> Verdict:
    """Ask for a verdict: the policy is the system message, the text the user's; the answer names one of `rules` or none.

    Raises `CookbookError` where the tokens ran out before the verdict.
    """
    fields = {"violation": {"type": "boolean"}, "rule": {"enum": [*rules, "none"]}}
    schema = {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}
    ask: Any = {
        "messages": [{"role": "system", "content": policy}, {"role": "user", "content": text}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": schema},
        },
        "reasoning_effort": effort,
    }
    choice = client.chat.completions.create(model=model, temperature=0, max_tokens=TOKENS, **ask).choices[0]
    if choice.finish_reason != "stop":
        raise CookbookError("no verdict", why=f"the answer ends with {choice.finish_reason}", do="allow more tokens")
    said = json.loads(choice.message.content or "")
    return Verdict(said["violation"], said["rule"], str(getattr(choice.message, "reasoning", None) or ""))


def filter_command(weights: str = "", port: int = 8001) -> Command:
    """`vllm serve` for the filter beside a chat server; its true weights unless others are named."""
    model = load_model(NAME)
    return Command(weights or str(model.hub_id), NAME, port, *flags_and_env(model.serve), "", model.serve)


def tiny(interpreter: Path, tokenizer: Path) -> Path:
    """The checkpoint folder of the tiny filter, trained where it is not there; with the tokenizer of another's folder."""
    mark = hashlib.sha256(TRAINING.read_bytes()).hexdigest()[:12]
    folder = CACHE / "models" / f"{NAME}-tiny-{mark}"
    if not folder.exists():
        half = folder.with_name(f"{folder.name}.{os.getpid()}")
        words = [str(interpreter), "-m", "nano.training.privacy", str(tokenizer), str(half)]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=TRAINING_S)
        if done.returncode:
            why = done.stderr.strip().rpartition("\n")[2]
            raise CookbookError("the tiny filter was not trained", why=why, do="install the CPU stack anew")
        half.rename(folder)
    return folder


def serve_filter(run: "Run", folder: Path) -> Server:
    """A second server beside a run's own on the CPU, for the filter in a folder; the caller stops it."""
    command = filter_command(str(folder), free_port()).changed(CPU, run.commands[0].env)
    words, log = command.run_by(str(run.interpreter)), run.folder / f"{NAME}.log"
    return launch(words, command.env, port=command.port, log=log, target="cpu", model=NAME, checkpoint=folder)


def spans(web: "httpx.Client", model: str, text: str, labels: Labels) -> list[Span]:
    """The spans of one text. `web` asks the filter's own server."""
    told = web.post("/tokenize", json={"model": model, "prompt": text, "add_special_tokens": False}).json()
    body = {"model": model, "input": told["tokens"], "task": "token_classify"}
    scores = web.post("/pooling", json=body).raise_for_status().json()["data"][0]["data"]
    pieces = [
        web.post("/detokenize", json={"model": model, "tokens": told["tokens"][: n + 1]}) for n in range(len(scores))
    ]
    ends = [len(piece.json()["prompt"]) for piece in pieces]
    return joined(best_path(scores, labels), [0, *ends[:-1]], ends, text)


def best_path(scores: list[list[float]], labels: Labels) -> Labels:
    """The likeliest labels that make whole spans (Viterbi): after B or I comes I or E of the same kind, else O, B or S.

    `scores`: a probability of each label for each token.
    """
    inside = [label[:1] in "BI" for label in labels]
    follows = [
        [after for after, name in enumerate(labels) if _may_follow(labels[before], name)]
        for before in range(len(labels))
    ]
    begins = [label[:1] in "OBS" for label in labels]
    best = [math.log(max(score, LEAST)) if begins[place] else -math.inf for place, score in enumerate(scores[0])]
    back: list[list[int]] = []
    for row in scores[1:]:
        new, steps = [-math.inf] * len(labels), [0] * len(labels)
        for before, value in enumerate(best):
            for after in follows[before]:
                if value > new[after]:
                    new[after], steps[after] = value, before
        best = [value + math.log(max(score, LEAST)) for value, score in zip(new, row, strict=True)]
        back.append(steps)
    place = max((place for place in range(len(labels)) if not inside[place]), key=lambda place: best[place])
    path = [place]
    for steps in reversed(back):
        path.append(place := steps[place])
    return [labels[place] for place in reversed(path)]


def _may_follow(before: str, after: str) -> bool:
    if before[:1] in "BI":
        return after[:1] in "IE" and after[2:] == before[2:]
    return after[:1] in "OBS"


def joined(path: Labels, begins: list[int], ends: list[int], text: str) -> list[Span]:
    """Whole spans without the spaces at their ends; `begins` and `ends` are the tokens' places in the text."""
    found, first = [], 0
    for place, label in enumerate(path):
        if label[:1] in "BS":
            first = begins[place]
        if label[:1] in "ES":
            inside = text[first : ends[place]]
            begin = first + len(inside) - len(inside.lstrip())
            found.append(Span(begin, begin + len(inside.strip()), label[2:]))
    return found


def masked(text: str, found: list[Span]) -> str:
    """The text with `[label]` in the place of each span."""
    for span in sorted(found, key=lambda span: span.begin, reverse=True):
        text = f"{text[: span.begin]}[{span.label}]{text[span.end :]}"
    return text


def labels_of(folder: Path) -> Labels:
    """The labels of a checkpoint, from its config.json."""
    found = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
    return [found[str(place)] for place in range(len(found))]
