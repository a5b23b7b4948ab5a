"""The compact weights of gpt-oss-nano: their tensors, their MXFP4 experts and their full-vocabulary form."""

import json
from pathlib import Path

import torch
from safetensors import safe_open

from helpers.instack.nano.geometry import VOCABULARY, CheckpointGeometry

# Magnitudes of the E2M1 format (OCP Microscaling Formats 1.0), by code; codes 8 to 15 are their negatives.
FP4_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
BLOCK = 32  # values that share one E8M0 scale
SCALE_BIAS = 127


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """MXFP4 codes (same shape, uint8) and scales (last axis / 32, uint8) of a weight along its last axis."""
    blocks = weight.float().unflatten(-1, (-1, BLOCK))
    largest = blocks.abs().amax(-1, keepdim=True).clamp(min=2.0**-60)
    # The exponent that brings the largest value into (3, 6]: nothing saturates, at most one bit is unused.
    exponent = torch.ceil(torch.log2(largest / FP4_MAGNITUDES[-1]))
    table = torch.tensor(FP4_MAGNITUDES, device=weight.device)
    middles = (table[1:] + table[:-1]) / 2
    scaled = blocks * torch.exp2(-exponent)
    codes = torch.bucketize(scaled.abs(), middles).to(torch.uint8)
    codes = codes + 8 * (scaled < 0).to(torch.uint8)
    return codes.flatten(-2), (exponent.squeeze(-1) + SCALE_BIAS).to(torch.uint8)


def dequantise(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """The float32 numbers that MXFP4 codes and scales stand for; exact in BF16 too."""
    values = torch.tensor([*FP4_MAGNITUDES, *(-value for value in FP4_MAGNITUDES)], device=codes.device)
    blocks = values[codes.int()].unflatten(-1, (-1, BLOCK))
    return (blocks * torch.exp2(scales.float() - SCALE_BIAS).unsqueeze(-1)).flatten(-2)


def pack(codes: torch.Tensor) -> torch.Tensor:
    """Two codes a byte, the first in the low half, as gpt-oss's `*_blocks` tensors keep them: (..., n/32, 16)."""
    pairs = codes.unflatten(-1, (-1, BLOCK // 2, 2))
    return pairs[..., 0] | (pairs[..., 1] << 4)


def unpack(blocks: torch.Tensor) -> torch.Tensor:
    """The codes inside `*_blocks` (..., n/32, 16) as (..., n)."""
    return torch.stack([blocks & 15, blocks >> 4], dim=-1).flatten(-3)


def load_compact(file: Path) -> tuple[CheckpointGeometry, dict[str, torch.Tensor]]:
    """The geometry and tensors of a compact weights file."""
    with safe_open(file, "pt") as handle:
        geometry = CheckpointGeometry(**json.loads(handle.metadata()["geometry"]))
        return geometry, {name: handle.get_tensor(name) for name in sorted(handle.keys())}


def full_vocabulary(compact: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Rows for all 201,088 tokens: a token's own row, or the shared last row where it has none."""
    full = compact[-1].repeat(VOCABULARY, 1)
    full[token_ids.long()] = compact[:-1]
    return full


def checkpoint(geometry: CheckpointGeometry, compact: dict[str, torch.Tensor], form: str) -> dict[str, torch.Tensor]:
    """The tensors of a GptOssForCausalLM checkpoint; `form` is bf16 or mxfp4."""
    tensors = {
        "model.embed_tokens.weight": full_vocabulary(compact["embed"], compact["token_ids"]),
        # Weights trained tied hold one table; gpt-oss's checkpoints always hold two.
        "lm_head.weight": full_vocabulary(compact.get("unembed", compact["embed"]), compact["token_ids"]),
        "model.norm.weight": compact["norm"],
    }
    names = {
        "sinks": "self_attn.sinks",
        "norm1": "input_layernorm.weight",
        "norm2": "post_attention_layernorm.weight",
        "router.weight": "mlp.router.weight",
        "router.bias": "mlp.router.bias",
    }
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        names |= {f"{name}.weight": f"self_attn.{name}.weight", f"{name}.bias": f"self_attn.{name}.bias"}
    for layer in range(geometry.layers):
        source, target = f"layers.{layer}.", f"model.layers.{layer}."
        tensors |= {target + new: compact[source + old] for old, new in names.items()}
        for name in ("gate_up", "down"):
            expert = target + f"mlp.experts.{name}_proj"
            blocks, scales = compact[source + f"{name}.blocks"], compact[source + f"{name}.scales"]
            tensors[f"{expert}_bias"] = compact[source + f"{name}.bias"]
            if form == "mxfp4":
                tensors |= {f"{expert}_blocks": blocks, f"{expert}_scales": scales}
            else:  # the BF16 form keeps each expert as (inputs, outputs)
                tensors[expert] = dequantise(unpack(blocks), scales).bfloat16().transpose(1, 2)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
