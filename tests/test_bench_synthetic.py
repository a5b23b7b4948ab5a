"""Synthetic checkpoints have the hub's layout and size; they are refused where there is no room."""

import json
import struct
import subprocess

import pytest

from helpers.paths import ROOT
from helpers.recipes import load_model

# The tensors of one layer as openai/gpt-oss-20b's model.safetensors.index.json names them.
LAYER = [
    "input_layernorm.weight",
    "mlp.experts.down_proj_bias",
    "mlp.experts.down_proj_blocks",
    "mlp.experts.down_proj_scales",
    "mlp.experts.gate_up_proj_bias",
    "mlp.experts.gate_up_proj_blocks",
    "mlp.experts.gate_up_proj_scales",
    "mlp.router.bias",
    "mlp.router.weight",
    "post_attention_layernorm.weight",
    "self_attn.k_proj.bias",
    "self_attn.k_proj.weight",
    "self_attn.o_proj.bias",
    "self_attn.o_proj.weight",
    "self_attn.q_proj.bias",
    "self_attn.q_proj.weight",
    "self_attn.sinks",
    "self_attn.v_proj.bias",
    "self_attn.v_proj.weight",
]
# The tensors of an EAGLE3 head as vLLM 0.32.0 reads them (model_executor/models/llama_eagle3.py).
DRAFT = [
    "d2t",
    "fc",
    "lm_head",
    "midlayer.hidden_norm",
    "midlayer.input_layernorm",
    "midlayer.mlp.down_proj",
    "midlayer.mlp.gate_proj",
    "midlayer.mlp.up_proj",
    "midlayer.post_attention_layernorm",
    "midlayer.self_attn.k_proj",
    "midlayer.self_attn.o_proj",
    "midlayer.self_attn.q_proj",
    "midlayer.self_attn.v_proj",
    "norm",
]
SCRIPT = """
import sys, json
from dataclasses import replace
from pathlib import Path
from helpers.instack import synthetic
from helpers.instack.nano.geometry import CheckpointGeometry
out = Path(sys.argv[1])
if __name__ == "__main__":
    small = replace(CheckpointGeometry(), layers=2, hidden=64, intermediate=96, experts=8, query_heads=2, kv_heads=1)
    first = synthetic.write("small", [out], geometry=small)
    stamp = (first / "config.json").stat().st_mtime_ns
    synthetic.write("small", [out], geometry=small)
    kept = stamp == (first / "config.json").stat().st_mtime_ns
    draft = synthetic.write_draft("small", [out.with_name("draft")], geometry=small)
    stamp = (draft / "model.safetensors").stat().st_mtime_ns
    synthetic.write_draft("small", [out.with_name("draft")], geometry=small)
    kept = kept and stamp == (draft / "model.safetensors").stat().st_mtime_ns
    synthetic.free_room = lambda place: 1000
    try:
        synthetic.write("small", [out.with_name("a"), out.with_name("b")], geometry=small)
        refused = ""
    except synthetic.CookbookError as error:
        refused = error.line()
    sizes = {
        name: sum(map(synthetic.bytes_of, synthetic.files_of(synthetic.geometry_of(name), "mxfp4").values()))
        for name in ("gpt-oss-20b", "gpt-oss-120b")
    }
    print(json.dumps({"kept": kept, "refused": refused, "sizes": sizes}))
"""


def header(path) -> dict:
    """The header of a safetensors file."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length))


@pytest.mark.full
def test_a_synthetic_checkpoint_has_the_hubs_layout(tmp_path, interpreter):
    out, script = tmp_path / "model", tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [interpreter, script, out],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    index = json.loads((out / "model.safetensors.index.json").read_text())
    wanted = {f"model.layers.{layer}.{name}" for layer in range(2) for name in LAYER}
    assert set(index["weight_map"]) == wanted | {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    found, total = {}, 0
    for file in set(index["weight_map"].values()):
        tensors = {name: spec for name, spec in header(out / file).items() if name != "__metadata__"}
        assert all(index["weight_map"][name] == file for name in tensors)
        found |= tensors
        total += sum(spec["data_offsets"][1] - spec["data_offsets"][0] for spec in tensors.values())
    assert set(found) == set(index["weight_map"]) and total == index["metadata"]["total_size"]
    blocks = found["model.layers.1.mlp.experts.gate_up_proj_blocks"]
    scales = found["model.layers.1.mlp.experts.down_proj_scales"]
    assert (blocks["dtype"], blocks["shape"]) == ("U8", [8, 192, 2, 16])
    assert (scales["dtype"], scales["shape"]) == ("U8", [8, 64, 3])
    config = json.loads((out / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "mxfp4" and config["num_hidden_layers"] == 2
    assert (out / "tokenizer.json").exists()
    head = header(tmp_path / "draft" / "model.safetensors")
    assert {name.removesuffix(".weight") for name in head} == {*DRAFT, "__metadata__"}
    assert head["fc.weight"]["shape"] == [64, 3 * 64], "the states of three layers, fused"
    assert head["midlayer.self_attn.q_proj.weight"]["shape"] == [128, 2 * 64], "an embedding beside a state"
    assert (head["d2t"]["dtype"], head["d2t"]["shape"]) == ("I64", [32_000])
    settings = json.loads((tmp_path / "draft" / "config.json").read_text())
    assert (settings["architectures"], settings["draft_vocab_size"]) == (["LlamaForCausalLMEagle3"], 32_000)
    assert settings["intermediate_size"] == 6 * 64
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert said["kept"], "an equal checkpoint was written again"
    assert "no room" in said["refused"] and not (tmp_path / "a").exists()
    for name, size in said["sizes"].items():
        assert size == load_model(name).weights.bytes
