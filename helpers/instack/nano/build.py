"""Write gpt-oss-nano as a checkpoint folder that vLLM and transformers load.

STACK_PYTHON -m helpers.instack.nano.build --out DIR [--form bf16|mxfp4]
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

from safetensors.torch import save_file

from helpers.errors import CookbookError
from helpers.instack.nano.geometry import GENERATION_CONFIG, CheckpointGeometry
from helpers.instack.nano.tokenizer import write_tokenizer
from helpers.instack.nano.weights import checkpoint, load_compact, random_compact
from helpers.paths import MODELS

COMPACT = MODELS / "gpt-oss-nano.safetensors"
FORMS = ("bf16", "mxfp4")


def build(out: Path, form: str = "bf16", weights: Path | None = None, seed: int = 0) -> Path:
    """Write the checkpoint folder `out` whole or not at all; the same input gives the same bytes.

    `weights` names the compact weights, by default the trained ones of this repository; where there are none,
    random numbers from `seed` take their place.
    """
    if form not in FORMS:
        raise CookbookError(f"there is no form {form!r}", do=f"choose one of {', '.join(FORMS)}")
    source = weights or (COMPACT if COMPACT.exists() else None)
    if source is None:
        geometry = CheckpointGeometry()
        compact = random_compact(geometry, seed)
    else:
        if not source.exists():
            raise CookbookError(f"the compact weights {source} are not there", do="check the path")
        geometry, compact = load_compact(source)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        write_tokenizer(scratch)
        for name, content in (("config", geometry.config(form)), ("generation_config", GENERATION_CONFIG)):
            (scratch / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        save_file(checkpoint(geometry, compact, form), scratch / "model.safetensors", {"format": "pt"})
        for path in (scratch, *scratch.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        _replace(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return out


def _replace(new: Path, target: Path) -> None:
    """Put folder `new` in `target`'s place; an older one is moved aside first and then removed."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        os.rename(target, old / "was")
        os.rename(new, target)
        shutil.rmtree(old)
    else:
        os.rename(new, target)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--form", choices=FORMS, default="bf16", help="number format of the experts")
    parser.add_argument("--weights", type=Path, help="compact weights (default: the trained ones)")
    parser.add_argument("--seed", type=int, default=0, help="for random numbers where no weights exist")
    arguments = parser.parse_args()
    try:
        print(build(arguments.out, arguments.form, arguments.weights, arguments.seed))
    except CookbookError as error:
        parser.exit(error.exit_code, f"{error.line()}\n")


if __name__ == "__main__":
    main()
