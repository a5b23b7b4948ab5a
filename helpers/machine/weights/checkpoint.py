"""Whether a folder is a whole gpt-oss checkpoint: config, tokenizer, every shard of the index, every byte of a shard."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import CookbookError
from helpers.paths import shown
from helpers.recipes import Model

ARCHITECTURE = "GptOssForCausalLM"
LFS_POINTER = b"version https://git-lfs"
HEADER_LIMIT = 100 * 2**20  # bytes; the safetensors format's own limit
# Keys of config.json against the model's recipe.
GEOMETRY = {
    "num_hidden_layers": "layers",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_local_experts": "experts",
    "num_attention_heads": "attention_heads",
    "num_key_value_heads": "kv_heads",
    "vocab_size": "vocab_size",
}


@dataclass(frozen=True)
class CheckpointFacts:
    """What a whole checkpoint holds."""

    folder: Path
    shards: int
    tensors: int
    bytes: int


def check_checkpoint(folder: Path, model: Model | None = None) -> CheckpointFacts:
    """The facts of a checkpoint folder; one `CookbookError` lists everything that is missing or cut off.

    Only headers are read, so 65 GB are checked in well under a second.
    """
    folder, faults = Path(folder), list[str]()
    if not folder.is_dir():
        raise CookbookError(f"{shown(folder)} is not a folder", do="pass the folder of a checkpoint")
    config = _json(folder / "config.json", faults)
    if config is not None:
        faults += _config_faults(config, model)
    faults += _tokenizer_faults(folder)
    shards, wanted = _shards(folder, faults)
    tensors, size = 0, 0
    for shard in shards:
        names, problem = _shard_tensors(folder / shard)
        if problem:
            faults.append(f"{shard}: {problem}")
            continue
        tensors, size = tensors + len(names), size + (folder / shard).stat().st_size
        absent = [name for name, place in wanted.items() if place == shard and name not in names]
        if absent:
            faults.append(f"{shard}: {len(absent)} tensors of the index are not in it ({absent[0]}, ...)")
    if faults:
        raise CookbookError(
            f"{shown(folder)} is not a whole checkpoint",
            why="; ".join(faults),
            do="fetch or write it again (an interrupted download goes on where it stopped)",
        )
    return CheckpointFacts(folder, len(shards), tensors, size)


def _json(path: Path, faults: list[str]) -> dict | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        faults.append(f"{path.name} is missing")
    except (ValueError, OSError) as error:
        faults.append(f"{path.name} cannot be read ({str(error)[:80]})")
    else:
        if isinstance(content, dict):
            return content
        faults.append(f"{path.name} holds no JSON object")
    return None


def _config_faults(config: dict, model: Model | None) -> list[str]:
    faults = []
    if ARCHITECTURE not in config.get("architectures", []):
        faults.append(f"config.json: architectures is {config.get('architectures')}, {ARCHITECTURE} is needed")
    if model is None:
        return faults
    for key, name in GEOMETRY.items():
        wanted = getattr(model.geometry, name)
        if config.get(key) != wanted:
            faults.append(f"config.json: {key} is {config.get(key)}, {model.model} has {wanted}")
    return faults


def _tokenizer_faults(folder: Path) -> list[str]:
    faults = []
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        if not path.is_file():
            faults.append(f"{name} is missing")
            continue
        with open(path, "rb") as file:
            start = file.read(64).lstrip()
        if start.startswith(LFS_POINTER):
            faults.append(f"{name} is a Git LFS pointer, not the file")
        elif not start.startswith(b"{"):
            faults.append(f"{name} is not JSON")
    return faults


def _shards(folder: Path, faults: list[str]) -> tuple[list[str], dict[str, str]]:
    """The shard files and, from the index, which tensor lies in which."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        weight_map = (_json(index, faults) or {}).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            faults.append(f"{index.name} has no weight_map")
            return [], {}
        return sorted(set(weight_map.values())), weight_map
    if not (folder / "model.safetensors").exists():
        faults.append("there is neither model.safetensors.index.json nor model.safetensors")
        return [], {}
    return ["model.safetensors"], {}


def _shard_tensors(path: Path) -> tuple[set[str], str]:
    """The tensors of a safetensors file and what is wrong with it: its header says how long it must be."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(8)
            if start.startswith(LFS_POINTER[:8]):
                return set(), "a Git LFS pointer, not the file"
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(HEADER_LIMIT, size):
                return set(), f"not a safetensors file, or cut off ({size:,} bytes)"
            header = json.loads(file.read(length))
    except FileNotFoundError:
        return set(), "missing"
    except (ValueError, OSError) as error:
        return set(), f"its header cannot be read ({str(error)[:80]})"
    header.pop("__metadata__", None)
    end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size != end:
        return set(), f"has {size:,} bytes, its header says {end:,}"
    return set(header), ""
