"""Full-size gpt-oss checkpoints of random numbers with balanced routing, for speed and memory without a hub.

    STACK_PYTHON -m helpers.instack.synthetic --model gpt-oss-20b --out DIR
    STACK_PYTHON -m helpers.instack.synthetic --model gpt-oss-20b --draft eagle3 --out DIR

`--load-format dummy` gives every weight, norms included, a value near zero: the router's input is almost
constant, every token takes nearly the same experts, and a step reads far less memory than it should. Here norms
are one, embeddings N(0, 1), projections N(0, 1/inputs), router rows N(0, 4/hidden), experts random FP4 codes
with one constant scale, so that activations stay finite and tokens spread over the experts. Tensor names,
shapes and types are those of `openai/gpt-oss-*` (MXFP4 experts as `*_blocks` and `*_scales`), one file a layer.
The text it writes is noise. A draft head drafts noise too: it costs what a trained one of its sizes costs, and how
many of its tokens count is then a setting of the server (vLLM's `rejection_sample_method: synthetic`).
"""

import argparse
import json
import multiprocessing
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from helpers.errors import CookbookError
from helpers.files import read_json
from helpers.instack.nano.folder import whole_folder
from helpers.instack.nano.geometry import GENERATION_CONFIG, VOCABULARY, CheckpointGeometry
from helpers.instack.nano.tokenizer import write_tokenizer
from helpers.instack.nano.weights import dequantise, unpack
from helpers.instack.shapes import BLOCK, Shapes, bytes_of, draft_config, draft_shapes, files_of
from helpers.recipes import load_model

EXPERT_SCALE = 120  # E8M0: 2**(120 - 127); random FP4 codes have a deviation of 2.93, so 0.023, near 1/sqrt(2880)
SHARED_MEMORY = Path("/dev/shm")
MARGIN = 1.02  # file headers, tokenizer, rounding to pages
MEMORY_LEFT = 16 * 2**30  # of the host's memory, for the server's own processes beside weights in shared memory
THREADS = 6  # layers in flight: generating on the GPU, copying and writing overlap
MARKER = "synthetic.json"
FORMS = ("mxfp4", "bf16")


def geometry_of(model: str) -> CheckpointGeometry:
    """A model's sizes from its recipe."""
    sizes = load_model(model).geometry
    return replace(
        CheckpointGeometry(),
        layers=sizes.layers,
        hidden=sizes.hidden_size,
        intermediate=sizes.intermediate_size,
        experts=sizes.experts,
        experts_per_token=sizes.experts_per_token,
        query_heads=sizes.attention_heads,
        kv_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
        sliding_window=sizes.sliding_window,
    )


def numbers(shape: tuple[int, ...], dtype: torch.dtype, kind: str, generator: torch.Generator) -> torch.Tensor:
    """Random numbers of one kind on the generator's device."""
    device = generator.device
    if kind in ("one", "zero"):
        return torch.full(shape, float(kind == "one"), dtype=dtype, device=device)
    if kind == "spread":  # drafted id + this = id of the whole vocabulary, every sixth of it
        return torch.arange(*shape, dtype=dtype, device=device) * (VOCABULARY // shape[0] - 1)
    if kind == "scales":
        return torch.full(shape, EXPERT_SCALE, dtype=dtype, device=device)
    if kind == "codes":
        return torch.randint(0, 256, shape, dtype=dtype, device=device, generator=generator)
    if kind == "experts":  # the BF16 form of the same random codes, kept as (expert, inputs, outputs)
        experts, columns, rows = shape
        blocks = numbers((experts, rows, columns // BLOCK, BLOCK // 2), torch.uint8, "codes", generator)
        scales = torch.full(blocks.shape[:-1], EXPERT_SCALE, dtype=torch.uint8, device=device)
        return torch.stack([dequantise(unpack(b), s).to(dtype).T for b, s in zip(blocks, scales, strict=True)])
    deviation = {"normal": 1.0, "projection": shape[-1] ** -0.5, "router": 2 * shape[-1] ** -0.5}[kind]
    return torch.randn(shape, dtype=dtype, device=device, generator=generator).mul_(deviation)


def write_file(path: Path, shapes: Shapes, seed: int, device: str) -> None:
    """Generate and write one weight file."""
    generator = torch.Generator(device).manual_seed(seed)
    tensors = {name: numbers(*spec, generator).cpu().contiguous() for name, spec in shapes.items()}
    save_file(tensors, path, {"format": "pt"})


def free_room(place: Path) -> int:
    """Bytes that may be written at a place; in shared memory never the host's last."""
    parent = next(p for p in (place, *place.parents) if p.exists())
    free = shutil.disk_usage(parent).free
    if parent == SHARED_MEMORY or SHARED_MEMORY in parent.parents:
        import psutil

        free = min(free, psutil.virtual_memory().available - MEMORY_LEFT)
    return max(free, 0)


def place_for(size: int, places: list[Path]) -> Path:
    """The first place with room for `size` bytes; `CookbookError` names what each has."""
    room = [(place, free_room(place)) for place in places]
    for place, free in room:
        if free >= size * MARGIN:
            return place
    raise CookbookError(
        f"there is no room for {size * MARGIN / 1e9:.1f} GB of synthetic weights",
        ", ".join(f"{place} has {free / 1e9:.1f} GB" for place, free in room),
        "free some, name another folder with --out, or use a smaller model",
    )


def write(
    model: str,
    places: list[Path],
    form: str = "mxfp4",
    seed: int = 0,
    device: str | None = None,
    geometry: CheckpointGeometry | None = None,
) -> Path:
    """Write the checkpoint whole or not at all to the first of `places` with room; one there already is kept."""
    if form not in FORMS:
        raise CookbookError(f"there is no form {form!r}", do=f"choose one of {', '.join(FORMS)}")
    g = geometry or geometry_of(model)
    settings = {"model": model, "form": form, "seed": seed, "geometry": asdict(g)}
    for place in places:
        if holds(place, settings):
            return place
    files = files_of(g, form)
    total = sum(map(bytes_of, files.values()))
    out = place_for(total, places)
    if out.exists() and not (out / MARKER).exists() and any(out.iterdir()):
        raise CookbookError(f"{out} is not empty", "it holds something else", "name another folder")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with whole_folder(out) as scratch:
        tokenizer = multiprocessing.get_context("spawn").Process(target=write_tokenizer, args=(scratch,))
        tokenizer.start()  # seconds of pure Python: beside the weights, in its own process
        try:
            jobs = [
                (scratch / name, shapes, seed * 100_003 + number, device)
                for number, (name, shapes) in enumerate(files.items())
            ]
            with ThreadPoolExecutor(THREADS) as pool:
                for done, _ in enumerate(pool.map(lambda job: write_file(*job), jobs), 1):
                    print(f"step {done} of {len(jobs)}", flush=True)  # `helpers.progress.child` draws it
            tokenizer.join()
        finally:
            if tokenizer.is_alive():
                tokenizer.terminate()
        if tokenizer.exitcode:
            raise CookbookError("the tokenizer could not be written", "see the error above")
        index = {name: file for file, shapes in files.items() for name in shapes}
        documents = {
            "config.json": g.config(form),
            "generation_config.json": GENERATION_CONFIG,
            "model.safetensors.index.json": {"metadata": {"total_size": total}, "weight_map": index},
        }
        for name, content in documents.items():
            (scratch / name).write_text(json.dumps(content, indent=1) + "\n")
        finish(scratch, out, settings)
    return out


def write_draft(
    model: str, places: list[Path], seed: int = 0, device: str | None = None, geometry: CheckpointGeometry | None = None
) -> Path:
    """Write an EAGLE3 head for a model, whole or not at all, to the first of `places` with room; one there is kept."""
    g = geometry or geometry_of(model)
    settings = {"model": model, "draft": "eagle3", "seed": seed, "geometry": asdict(g)}
    for place in places:
        if holds(place, settings):
            return place
    shapes = draft_shapes(g)
    out = place_for(bytes_of(shapes), places)
    with whole_folder(out) as scratch:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        write_file(scratch / "model.safetensors", shapes, seed, device)
        (scratch / "config.json").write_text(json.dumps(draft_config(g), indent=1) + "\n")
        finish(scratch, out, settings)
    return out


def finish(scratch: Path, out: Path, settings: dict) -> None:
    """Mark what the folder holds; where somebody else was faster, drop it: what may be in use stays."""
    (scratch / MARKER).write_text(json.dumps(settings, indent=1) + "\n")
    if holds(out, settings):
        shutil.rmtree(scratch)


def holds(place: Path, settings: dict) -> bool:
    """Whether a place holds the same checkpoint already."""
    return read_json(place / MARKER) == settings


def main() -> None:
    """The command line: prints the folder, and on stderr how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="gpt-oss-20b", choices=["gpt-oss-20b", "gpt-oss-120b"])
    parser.add_argument(
        "--out", type=Path, nargs="+", required=True, help="folder to write; of several, the first with room"
    )
    parser.add_argument("--form", choices=FORMS, default="mxfp4", help="number format of the experts")
    parser.add_argument("--draft", choices=["eagle3"], help="a draft head for the model instead of the model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="where numbers are drawn (default: the GPU where there is one)")
    options = parser.parse_args()
    began = time.perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a stopped run removes its scratch folder
    try:
        if options.draft:
            out = write_draft(options.model, options.out, options.seed, options.device)
        else:
            out = write(options.model, options.out, options.form, options.seed, options.device)
    except CookbookError as error:
        parser.exit(error.exit_code, f"{error.line()}\n")
    print(f"{time.perf_counter() - began:.1f} s", file=sys.stderr)
    print(out)


if __name__ == "__main__":
    main()
