"""LoRA adapters beside gpt-oss: the memory that vLLM sets aside for them, and docs/lora.md.

`python -m maintain.sizing.adapters` writes the page. vLLM 0.32 holds a buffer for each slot (--max-loras) and each adapted
layer (lora/layers): A is rank x inputs, B is outputs x rank, and an adapted expert layer has both for every expert.
"""

from pathlib import Path

import yaml

from helpers.files import write_whole
from helpers.pages.markdown import row, table
from helpers.paths import RECIPES, ROOT, shown
from helpers.recipes import Block, Model, load_model
from helpers.recipes.budget import BF16, GIB
from helpers.recipes.command.serve import flags_and_env

FILE, PAGE = RECIPES / "lora.yaml", ROOT / "docs" / "lora.md"
MODELS, RANKS = ("gpt-oss-20b", "gpt-oss-120b"), (8, 16, 64)
TEXT = """# LoRA adapters

You have an adapter of gpt-oss, and serve it beside the base. Each has a name of its own, and a request picks one by its field
`model`.

Put these behind any command of this cookbook. `NAME` is what requests ask for, `FOLDER` holds `adapter_config.json` and
`adapter_model.safetensors`:

```bash
{flags} --lora-modules NAME=FOLDER
```

{reasons}

## The memory of adapters

vLLM sets the memory aside when it starts, for `--max-loras` slots of rank `--max-lora-rank`, whatever the adapters hold. It is
taken from the KV cache. GiB of one slot on one device, tensor parallel size 1, BF16, computed from the geometry:

{table}

## Where adapters run

With `--enable-lora`, vLLM 0.32 takes experts' kernels that know adapters, also where the adapter changes attention alone. Those
are Triton's, Marlin's, the Triton kernels made for gpt-oss, and TensorRT-LLM's; elsewhere the start says "does not support LoRA".

**A CPU serves no adapter.** The experts go to Triton's kernels before vLLM looks at the platform
(`select_unquantized_moe_backend`). The server starts and lists the adapters; its first request ends it, be it for the base or
for an adapter ([LO10](failures.md), [the request](requests.md#adapters-on-a-cpu)). `cookbook check --limits` says when a newer
vLLM no longer does. Merge the adapter into a BF16 checkpoint instead, or serve it on a GPU.

No adapter has been served on a GPU here: the figures follow from the geometry, the flags from vLLM's source.
"""


def adapter_gib(model: Model, rank: int, experts: bool = False, slots: int = 1, tensor_parallel_size: int = 1) -> float:
    """GiB on one device of the buffers for `slots` adapters of a rank: attention's four projections, and the experts' two.

    A of what is split by column and B of what is split by row are whole on every device, as vLLM keeps them unless
    --fully-sharded-loras is set.
    """
    geometry, size = model.geometry, tensor_parallel_size
    hidden, width = geometry.hidden_size, geometry.intermediate_size / size
    query, keys = (heads * geometry.head_dim / size for heads in (geometry.attention_heads, geometry.kv_heads))
    numbers = 3 * hidden + query + 2 * keys  # qkv_proj: three A, three B
    numbers += query + hidden  # o_proj
    if experts:
        numbers += geometry.experts * (hidden + 2 * width + width + hidden)  # gate_up_proj and down_proj
    return geometry.layers * numbers * rank * slots * BF16 / GIB


def fragment() -> Block:
    """The flags with their reasons."""
    return Block(**yaml.safe_load(FILE.read_text(encoding="utf-8")))


def page() -> str:
    """The whole page."""
    block = fragment()
    flags, _ = flags_and_env(block)
    words = " ".join(" ".join([flag, *values]) for flag, values in flags.items())
    reasons = [f"- `--{name}`: {setting.why}." for name, setting in block.args.items()]
    rows = []
    for name in MODELS:
        for rank in RANKS:
            both = (f"{adapter_gib(load_model(name), rank, experts):.2f}" for experts in (False, True))
            rows.append(row(name, rank, *both))
    columns = ("model", "rank", "attention", "attention and experts")
    return TEXT.format(flags=words, reasons="\n".join(reasons), table=table(columns, rows))


def write(path: Path = PAGE) -> Path:
    """Write the page whole or not at all."""
    return write_whole(path, page())


if __name__ == "__main__":
    print(shown(write()))
