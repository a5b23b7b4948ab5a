"""The checkpoint that a run serves: built, written or found, according to `weights`."""

import os
import subprocess
from pathlib import Path

from helpers.errors import CookbookError, UsageError
from helpers.files import alone
from helpers.paths import ROOT, shown
from helpers.progress import child
from helpers.recipes import Model, Parameters
from helpers.server.serving import Serving, draft_folder

SHARED_MEMORY = Path("/dev/shm/gpt-oss-cookbook")  # on a GPU host the fastest place, where it has room


def checkpoint(serving: Serving, interpreter: Path, cache: Path) -> str:
    """The folder to serve. Raises `CookbookError` when it cannot be had or is not a checkpoint."""
    from helpers.machine.weights import check_checkpoint, fetch

    model, parameters, kind = serving.model, serving.parameters, serving.weights
    if kind == "nano":
        return str(build_nano(interpreter, cache, serving.form))
    if kind == "path":
        return str(check_checkpoint(checkpoint_folder(parameters), model).folder)
    if kind == "synthetic" and model.hub_id:
        folder = write_synthetic(model, interpreter, cache)
        if serving.speculates:
            write_draft(model, interpreter, folder)
        return str(folder)
    if kind == "hub" and model.hub_id:
        return str(fetch(model))
    raise UsageError(f"{model.model} has no weights {parameters.weights!r}", do="use nano, or the path of a checkpoint")


def checkpoint_folder(parameters: Parameters) -> Path:
    """The folder that `weights` names, absolute; `UsageError` where it holds no model."""
    folder = Path(parameters.weights).expanduser().resolve()
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"{shown(folder)} is not a model folder", why="it has no config.json", do="pass the folder of a checkpoint"
        )
    return folder


# What the checkpoint's bytes follow from; the training code beside them does not count.
NANO_SOURCES = (
    *("helpers/instack/nano/build.py", "helpers/instack/nano/weights.py", "helpers/instack/nano/tokenizer.py"),
    *("helpers/instack/nano/geometry.py", "recipes/models/gpt-oss-nano.safetensors"),
)


def nano_folder(cache: Path, form: str = "bf16") -> Path:
    """Where gpt-oss-nano of these sources lies once it is built."""
    import hashlib

    sources = [ROOT / name for name in NANO_SOURCES if (ROOT / name).exists()]
    mark = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    return cache / f"gpt-oss-nano-{form}-{mark}"


def synthetic_folders(model: Model, cache: Path) -> list[Path]:
    """Where a synthetic checkpoint may lie, the fastest place first."""
    return [SHARED_MEMORY / model.model, cache / f"{model.model}-synthetic"]


def build_nano(interpreter: Path, cache: Path, form: str = "bf16") -> Path:
    """gpt-oss-nano, built by the stack's Python unless the same one is there already."""
    folder = nano_folder(cache, form)
    built = folder / "config.json"
    if built.exists():
        return folder
    argv = [str(interpreter), "-m", "helpers.instack.nano.build", "--out", str(folder), "--form", form]
    why = ""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with alone(cache.with_name(f"{cache.name}.lock")):  # two runs at once: the second waits, then finds it built
            if not built.exists():
                why = _why_not(child("building gpt-oss-nano", argv, cwd=ROOT))
    except OSError as error:
        why = str(error)
    if why:
        raise CookbookError("gpt-oss-nano was not built", why=why, do="free some disk (0.5 GiB) and run again")
    return folder


def _why_not(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of a child that failed, empty where it did not."""
    return (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1] if done.returncode else ""


def write_synthetic(model: Model, interpreter: Path, cache: Path, env: dict[str, str] | None = None) -> Path:
    """A full-size checkpoint of random numbers with balanced routing: in shared memory, else on disk.

    One that is there already is used again. `env` is added to the environment. Raises `CookbookError` when neither has room.
    """
    return _synthesized(f"the synthetic {model.model}", model, interpreter, synthetic_folders(model, cache), env)


def write_draft(model: Model, interpreter: Path, checkpoint: Path, env: dict[str, str] | None = None) -> Path:
    """An EAGLE3 head of random numbers beside a synthetic checkpoint, as `write_synthetic` writes that one."""
    places = [Path(draft_folder(str(checkpoint)))]
    return _synthesized(f"the draft head of {model.model}", model, interpreter, places, env, "--draft", "eagle3")


def _synthesized(
    what: str, model: Model, interpreter: Path, places: list[Path], env: dict[str, str] | None, *options: str
) -> Path:
    module = "helpers.instack.synthetic"
    argv = [str(interpreter), "-m", module, "--model", model.model, *options, "--out", *map(str, places)]
    done = child(f"writing {what}", argv, cwd=ROOT, env=os.environ | (env or {}))
    if why := _why_not(done):
        raise CookbookError(f"{what} was not written", why=why)
    return Path(done.stdout.strip().splitlines()[-1])


def named_weights(serving: Serving, cache: Path) -> str:
    """What a command to be pasted names: a hub id, or a folder that exists. Builds and fetches nothing.

    No hub has gpt-oss-nano or synthetic weights: `UsageError` names the command that writes them.
    """
    model, kind = serving.model, serving.weights
    if kind == "path":
        return str(checkpoint_folder(serving.parameters))
    if kind == "hub" and model.hub_id:
        return model.hub_id
    form = "" if serving.form == "bf16" else f" --form {serving.form}"
    stack = serving.target.stack.install
    places, way = {
        "nano": ([nano_folder(cache, serving.form)], f"`cookbook nano build DIR{form}`"),
        "synthetic": (
            synthetic_folders(model, cache),
            f"`.stacks/{stack}/bin/python -m helpers.instack.synthetic --model {model.model} --out DIR`",
        ),
    }[kind]
    built = next((place for place in places if (place / "config.json").exists()), None)
    if built is None:
        raise UsageError(
            f"there are no {kind} weights of {model.model} to name in a command",
            why="no hub has them and none are written here",
            do=f"write them with {way}, then pass --weights DIR",
        )
    return str(built.absolute())


def describe(checkpoint: str) -> str:
    """One line about a checkpoint: where it lies and what it weighs."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return checkpoint
    size = sum(file.stat().st_size for file in folder.iterdir())
    return f"{shown(folder)} ({size / 2**30:.2f} GiB)"
