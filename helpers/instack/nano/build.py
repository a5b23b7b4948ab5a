"""Write gpt-oss-nano as a checkpoint folder that vLLM and transformers load.

STACK_PYTHON -m helpers.instack.nano.build --out DIR [--form bf16|mxfp4]
"""

import argparse
import json
from pathlib import Path

from safetensors.torch import save_file

from helpers.errors import CookbookError
from helpers.instack.nano.folder import whole_folder
from helpers.instack.nano.geometry import GENERATION_CONFIG
from helpers.instack.nano.tokenizer import write_tokenizer
from helpers.instack.nano.weights import checkpoint, load_compact
from helpers.paths import MODELS

COMPACT = MODELS / "gpt-oss-nano.safetensors"
FORMS = ("bf16", "mxfp4")


def build(out: Path, form: str = "bf16", weights: Path = COMPACT) -> Path:
    """Write the checkpoint folder `out` whole or not at all; the same input gives the same bytes.

    `weights` names the compact weights, by default the trained ones of this repository.
    """
    if form not in FORMS:
        raise CookbookError(f"there is no form {form!r}", do=f"choose one of {', '.join(FORMS)}")
    if not weights.exists():
        raise CookbookError(f"the compact weights {weights} are not there", do="check the path")
    geometry, compact = load_compact(weights)
    with whole_folder(Path(out)) as scratch:
        write_tokenizer(scratch)
        for name, content in (("config", geometry.config(form)), ("generation_config", GENERATION_CONFIG)):
            (scratch / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        save_file(checkpoint(geometry, compact, form), scratch / "model.safetensors", {"format": "pt"})
    return Path(out)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--form", choices=FORMS, default="bf16", help="number format of the experts")
    parser.add_argument("--weights", type=Path, default=COMPACT, help="compact weights to expand")
    arguments = parser.parse_args()
    try:
        print(build(arguments.out, arguments.form, arguments.weights))
    except CookbookError as error:
        parser.exit(error.exit_code, f"{error.line()}\n")


if __name__ == "__main__":
    main()
