"""Bring run records and studies of schema 1 to schema 2: `.venv/bin/python recipes/records/migrate.py [FILES]`.

Without names it takes every file below recipes/records, evidence left out. A file of today's schema stays as it is. A
study stays readable but is not gone on with: its fingerprint is that of its old document. This script goes when no file
of schema 1 is left, here or with those who keep records of their own.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from helpers.files import write_whole
from helpers.paths import RECORDS, shown

SERVED = ("tensor_parallel_size", "replicas", "profile", "activations")
BARE = "bare vllm serve"  # how the variant of a server without the recipe's flags begins
SOURCE = re.compile(r"how many of its tokens count is set, not measured \((.*)\)$")


def migrated(document: dict[str, Any]) -> dict[str, Any] | None:
    """The document in schema 2; None where it is no run record or study of schema 1."""
    if document.get("schema") != 1:
        return None
    if "knobs" in document:
        return {
            "users_per_gpu" if name == "concurrency" else name: 2 if name == "schema" else value
            for name, value in document.items()
        }
    if "parameters" not in document:
        return None
    asked = dict(document["parameters"])
    variant = asked.pop("variant", "")
    served = {
        "tensor_parallel_size": asked.get("tensor_parallel_size", 1),
        "replicas": document.get("replicas", 1),
        "profile": "bare" if variant.startswith(BARE) else asked["profile"],
        "activations": asked.get("activations", "bf16"),
        "variant": variant,
    }
    if "model" not in asked:  # a campaign's: it was asked through its own plan, not by parameters
        asked = {name: value for name, value in asked.items() if name not in SERVED}
    made: dict[str, Any] = {}
    for name, value in document.items():
        if name == "parameters":
            made |= {"serving": served, "parameters": asked}
        elif name == "contracts" and (speculation := acceptance(document)):
            made |= {"acceptance": speculation, "contracts": value}
        elif name != "replicas":
            made[name] = 2 if name == "schema" else value
    if served["replicas"] > 1:
        made.setdefault("servers", None)  # the commands of the other copies were not kept
    return made


def acceptance(document: dict[str, Any]) -> dict[str, Any] | None:
    """The acceptance that a command sets, with the source that the record's notes name; None where it sets none."""
    argv = document["argv"]
    if "--speculative-config" not in argv:
        return None
    length = json.loads(argv[argv.index("--speculative-config") + 1]).get("synthetic_acceptance_length")
    sources = [found[1] for note in document["notes"] if (found := SOURCE.search(note))]
    return {"kind": "synthetic", "tokens_per_step": length, "source": sources[0]} if length and sources else None


def main(names: list[str]) -> None:
    """Migrate the named files, or all that are committed."""
    files = [Path(name) for name in names] or [p for p in RECORDS.rglob("*.json") if "evidence" not in p.parts]
    for file in sorted(files):
        made = migrated(json.loads(file.read_text()))
        if made:
            write_whole(file, json.dumps(made, indent=1) + "\n")
            print(f"{shown(file.resolve())}: schema 2")


if __name__ == "__main__":
    main(sys.argv[1:])
