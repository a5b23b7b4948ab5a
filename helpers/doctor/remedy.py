"""Turns a signature's change into the reader's own command: a diff, and lines to run before it."""

import ast
import difflib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from helpers import redact
from helpers.doctor.signatures import Signature
from helpers.logs import RUN_FACTS

DEFAULT = ["vllm", "serve", "MODEL"]  # where the log names no model: the reader puts in theirs
# A change of these means "at most": a command that sets less already is left as it is.
LIMITS = ("--max-model-len", "--gpu-memory-utilization", "--max-num-seqs", "--max-num-batched-tokens")


@dataclass(frozen=True)
class Remedy:
    """`diff` of the launch command (unified, one flag a line) and shell lines to `run` first; both may be empty."""

    diff: str = ""
    run: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Both on one line: `+ --max-model-len 54528`; empty where there is nothing to change or to run."""
        signed = [line for line in self.diff.splitlines()[2:] if line.startswith(("+", "-"))]
        return ", ".join([f"{line[0]} {line[1:]}" for line in signed] + [f"first run `{line}`" for line in self.run])


def launched(facts: Mapping[str, str]) -> list[str]:
    """The launch command as the log's own banner tells it, or the shortest one."""
    try:
        args = ast.literal_eval(facts.get("args", ""))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        args = None
    if not isinstance(args, dict):
        return [*DEFAULT[:2], facts["model"]] if "model" in facts else list(DEFAULT)
    model = args.pop("model_tag", None) or args.get("model") or DEFAULT[2]
    args.pop("model", None)
    words = ["vllm", "serve", str(model)]
    for name, value in args.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is False:
            words.append("--no-" + flag[2:])
        elif isinstance(value, dict):
            words += [flag, json.dumps(value)]
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        elif value is not None:
            words += [flag, str(value)]
    return redact.argv(words)


def lines(argv: list[str], env: Mapping[str, str] | None = None) -> list[str]:
    """A command with one variable and one flag per line, as a shell takes it."""
    out = [f"{name}={shlex.quote(str(value))}" for name, value in (env or {}).items()]
    current: list[str] = []
    for word in argv:
        if word.startswith("-") and current:
            out.append(shlex.join(current))
            current = []
        current.append(word)
    return [*out, shlex.join(current)] if current else out


def changed(argv: list[str], args: Mapping[str, object], drop: list[str]) -> list[str]:
    """The command with flags replaced, added or dropped; a flag's values go with it."""
    gone = {_flag(name) for name in [*drop, *args]}
    out: list[str] = []
    skip = False
    for word in argv:
        if word.startswith("--"):
            skip = word.partition("=")[0].replace("_", "-") in gone
        if not skip:
            out.append(word)
    for name, value in args.items():
        out += [_flag(name)] if value is True else [_flag(name), str(value)]
    return out


def lower_already(argv: list[str], flag: str, value: object) -> bool:
    """Whether the command sets one of `LIMITS` to no more than a change would.

    >>> lower_already(["vllm", "serve", "M", "--max-model-len", "8192"], "--max-model-len", 32768)
    True
    """
    if flag not in LIMITS or flag not in argv[:-1]:
        return False
    try:
        return float(argv[argv.index(flag) + 1]) <= float(str(value))
    except ValueError:
        return False


def _flag(name: str) -> str:
    return "--" + name.lstrip("-").replace("_", "-")


def remedy(signature: Signature, groups: Mapping[str, str], argv: list[str]) -> Remedy:
    """The change of `signature` applied to `argv`; `{name}` in a value takes the group of that name from the log."""
    change = signature.change
    if not change:
        return Remedy()

    def filled(value: object) -> object:
        try:
            return value.format(**groups) if isinstance(value, str) and "{" in value and groups else value
        except (KeyError, IndexError, ValueError):
            return value

    args = {name: filled(value) for name, value in change.args.items()}
    if any(
        isinstance(value, str) and value.startswith("{") and value.endswith("}") and '"' not in value
        for value in args.values()
    ):
        args = {}  # the log did not tell the value: the text of the fix says how to choose it
    args = {name: value for name, value in args.items() if not lower_already(argv, _flag(name), value)}
    env = {name: str(filled(value)) for name, value in change.env.items()}
    known = {word.partition("=")[0].replace("_", "-") for word in argv if word.startswith("--")}
    unseen = [_flag(name) for name in change.drop_args if _flag(name) not in known]  # in the command, not in the log
    assumed = [*argv, *(word for flag in unseen for word in (flag, "..."))]
    before = lines(assumed, dict.fromkeys((str(filled(name)) for name in change.drop_env), "..."))
    after = lines(changed(argv, args, change.drop_args), env)
    if before == after:
        return Remedy(run=[str(filled(line)) for line in change.run])
    diff = difflib.unified_diff(before, after, "the command that failed", "the command to run", n=9, lineterm="")
    body = [line for line in diff if not line.startswith("@@")]
    return Remedy("\n".join(body), [str(filled(line)) for line in change.run])


def issue_text(
    exception: str,
    place: str,
    chain: list[str],
    facts: Mapping[str, str],
    tail: list[str],
    thinks: list[str] | None = None,
    machine: str = "",
    argv: list[str] | None = None,
) -> str:
    """A ready-made issue: first exception, versions, flags and the log's last lines, without secrets and the home's name."""
    versions = [f"- {name}: {facts[name]}" for name in RUN_FACTS if name in facts and name != "args"]
    title = exception or (thinks or ["- Failure without an exception"])[0][2:]
    body = [f"### {redact.text(title.splitlines()[0])[:120]}", ""]
    body += [f"First exception ({place}):", *fenced(exception)] if exception else []
    later = [text for text in chain if text not in exception]
    body += ["It led to:", *fenced("\n".join(later[:4]))] if later else []
    body += ["What `cookbook doctor` thinks:", *thinks, ""] if thinks else []
    body += ["Versions:", *(versions or ["- not in the log; add the output of `vllm collect-env`"])]
    body += ["", "Machine (where this was written):", f"- {machine}", ""] if machine else []
    command = redact.argv(argv) if argv else launched(facts) if "args" in facts else []
    body += ["Command:", *fenced("\n".join(lines(command)))] if command else []
    body += ["Last lines:", *fenced("\n".join(text[:300] for text in tail))] if tail else []
    return redact.text("\n".join(body)).replace(str(Path.home()), "~")


def fenced(text: str) -> list[str]:
    """A code block whose fence is longer than any run of backticks in it.

    >>> fenced("a ``` b")
    ['````', 'a ``` b', '````']
    """
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return [fence, *text.splitlines(), fence]
