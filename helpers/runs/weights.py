"""The checkpoint that a run serves: built, written or found, according to `weights`."""

import os
import subprocess
from pathlib import Path

from helpers.errors import CookbookError, UsageError
from helpers.paths import ROOT, shown
from helpers.recipes import Model
from helpers.runs.serving import Serving

SHARED_MEMORY = Path("/dev/shm/gpt-oss-cookbook")  # on a GPU host the fastest place, where it has room


def checkpoint(serving: Serving, interpreter: Path, cache: Path) -> str:
    """The folder to serve. Raises `CookbookError` when it cannot be had or is not a checkpoint."""
    from helpers.weights import check_checkpoint, fetch

    model, parameters, kind = serving.model, serving.parameters, serving.weights
    if kind == "nano":
        return str(build_nano(interpreter, cache, serving.form))
    if kind == "path":
        folder = Path(parameters.weights).expanduser().resolve()
        if not (folder / "config.json").is_file():
            raise UsageError(
                f"{shown(folder)} is not a model folder",
                why="it has no config.json",
                do="pass the folder of a checkpoint",
            )
        return str(check_checkpoint(folder, model).folder)
    if kind == "synthetic" and model.hub_id:
        return str(write_synthetic(model, interpreter, cache))
    if kind == "hub" and model.hub_id:
        return str(fetch(model))
    raise UsageError(
        f"{model.model} has no weights {parameters.weights!r}", do="use nano, or the path of a checkpoint"
    )


# What the checkpoint's bytes follow from; the training code beside them does not count.
NANO_SOURCES = (
    *(
        "helpers/instack/nano/build.py",
        "helpers/instack/nano/weights.py",
        "helpers/instack/nano/tokenizer.py",
    ),
    *("helpers/nano/geometry.py", "recipes/models/gpt-oss-nano.safetensors"),
)


def build_nano(interpreter: Path, cache: Path, form: str = "bf16") -> Path:
    """gpt-oss-nano, built by the stack's Python unless the same one is there already; older builds go."""
    import hashlib

    sources = [ROOT / name for name in NANO_SOURCES if (ROOT / name).exists()]
    mark = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    folder = cache / f"gpt-oss-nano-{form}-{mark}"
    if not (folder / "config.json").exists():
        argv = [str(interpreter), "-m", "helpers.instack.nano.build", "--out", str(folder), "--form", form]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
            raise CookbookError(
                "gpt-oss-nano was not built", why=last, do="free some disk (0.5 GiB) and run again"
            )
    return folder


def write_synthetic(model: Model, interpreter: Path, cache: Path, env: dict[str, str] | None = None) -> Path:
    """A full-size checkpoint of random numbers with balanced routing: in shared memory, else on disk.

    One that is there already is used again. `env` is added to the environment. Raises `CookbookError` when neither has room.
    """
    places = [SHARED_MEMORY / model.model, cache / f"{model.model}-synthetic"]
    argv = [
        str(interpreter),
        "-m",
        "helpers.instack.synthetic",
        "--model",
        model.model,
        "--out",
        *map(str, places),
    ]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, env=os.environ | (env or {}))
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise CookbookError(f"the synthetic {model.model} was not written", why=last)
    return Path(done.stdout.strip().splitlines()[-1])


def describe(checkpoint: str) -> str:
    """One line about a checkpoint: where it lies and what it weighs."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return checkpoint
    size = sum(file.stat().st_size for file in folder.iterdir())
    return f"{shown(folder)} ({size / 2**30:.2f} GiB)"
