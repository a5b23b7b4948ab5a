"""Every tensor of a gpt-oss checkpoint and of an EAGLE3 draft head for it: names, shapes, types, in the hub's files."""

import torch

from helpers.instack.nano.geometry import RETURN, VOCABULARY, CheckpointGeometry

BLOCK = 32  # values per scale (OCP Microscaling Formats 1.0)
# what nvidia/gpt-oss-120b-Eagle3-v3 can draft: the ids that it saw most in training
DRAFT_VOCABULARY = 32_000
DRAFT_WIDTH = 6  # its MLP: 17,280 for the 2,880 of gpt-oss
AUXILIARY = 3  # hidden states of the model that the head reads: from low, middle and high layers

Shapes = dict[str, tuple[tuple[int, ...], torch.dtype, str]]  # name: shape, type, kind of numbers


def layer_shapes(g: CheckpointGeometry, layer: int, form: str) -> Shapes:
    """Every tensor of a layer."""
    query, kv, bf16, byte = g.query_heads * g.head_dim, g.kv_heads * g.head_dim, torch.bfloat16, torch.uint8
    head, attention = f"model.layers.{layer}.", f"model.layers.{layer}.self_attn."
    shapes: Shapes = {
        head + "input_layernorm.weight": ((g.hidden,), bf16, "one"),
        head + "post_attention_layernorm.weight": ((g.hidden,), bf16, "one"),
        attention + "sinks": ((g.query_heads,), bf16, "normal"),
        head + "mlp.router.weight": ((g.experts, g.hidden), bf16, "router"),
        head + "mlp.router.bias": ((g.experts,), bf16, "zero"),
    }
    for name, rows, columns in (
        ("q_proj", query, g.hidden),
        ("k_proj", kv, g.hidden),
        ("v_proj", kv, g.hidden),
        ("o_proj", g.hidden, query),
    ):
        shapes[f"{attention}{name}.weight"] = ((rows, columns), bf16, "projection")
        shapes[f"{attention}{name}.bias"] = ((rows,), bf16, "zero")
    for name, rows, columns in (
        ("gate_up_proj", 2 * g.intermediate, g.hidden),
        ("down_proj", g.hidden, g.intermediate),
    ):
        expert = f"{head}mlp.experts.{name}"
        shapes[expert + "_bias"] = ((g.experts, rows), bf16, "zero")
        if form == "mxfp4":
            shapes[expert + "_blocks"] = ((g.experts, rows, columns // BLOCK, BLOCK // 2), byte, "codes")
            shapes[expert + "_scales"] = ((g.experts, rows, columns // BLOCK), byte, "scales")
        else:
            shapes[expert] = ((g.experts, columns, rows), bf16, "experts")
    return shapes


def end_shapes(g: CheckpointGeometry) -> dict[str, Shapes]:
    """The tensors outside the layers, by file."""
    table = (VOCABULARY, g.hidden)
    return {
        "embed": {"model.embed_tokens.weight": (table, torch.bfloat16, "normal")},
        "head": {
            "lm_head.weight": (table, torch.bfloat16, "projection"),
            "model.norm.weight": ((g.hidden,), torch.bfloat16, "one"),
        },
    }


def files_of(g: CheckpointGeometry, form: str) -> dict[str, Shapes]:
    """Every weight file with its tensors, in the hub's naming."""
    parts = [layer_shapes(g, layer, form) for layer in range(g.layers)] + list(end_shapes(g).values())
    return {
        f"model-{number:05d}-of-{len(parts):05d}.safetensors": shapes for number, shapes in enumerate(parts, start=1)
    }


def bytes_of(shapes: Shapes) -> int:
    """What tensors take on disk."""
    return sum(torch.Size(shape).numel() * dtype.itemsize for shape, dtype, _ in shapes.values())


def draft_shapes(g: CheckpointGeometry) -> Shapes:
    """Every tensor of an EAGLE3 head: one Llama layer that reads the last token's embedding beside the fused states."""
    query, kv, width, bf16 = (
        g.query_heads * g.head_dim,
        g.kv_heads * g.head_dim,
        DRAFT_WIDTH * g.hidden,
        torch.bfloat16,
    )
    matrices = {
        "fc": (g.hidden, AUXILIARY * g.hidden),
        "midlayer.self_attn.q_proj": (query, 2 * g.hidden),
        "midlayer.self_attn.k_proj": (kv, 2 * g.hidden),
        "midlayer.self_attn.v_proj": (kv, 2 * g.hidden),
        "midlayer.self_attn.o_proj": (g.hidden, query),
        "midlayer.mlp.gate_proj": (width, g.hidden),
        "midlayer.mlp.up_proj": (width, g.hidden),
        "midlayer.mlp.down_proj": (g.hidden, width),
        "lm_head": (DRAFT_VOCABULARY, g.hidden),
    }
    norms = ["midlayer.input_layernorm", "midlayer.hidden_norm", "midlayer.post_attention_layernorm", "norm"]
    return {
        **{f"{name}.weight": (shape, bf16, "projection") for name, shape in matrices.items()},
        **{f"{name}.weight": ((g.hidden,), bf16, "one") for name in norms},
        "d2t": ((DRAFT_VOCABULARY,), torch.int64, "spread"),
    }


def draft_config(g: CheckpointGeometry) -> dict:
    """`config.json` of the head: EAGLE3 of a Llama layer, the embedding is the model's own."""
    return {
        "architectures": ["LlamaForCausalLMEagle3"],
        "model_type": "llama",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": None,
        "eos_token_id": RETURN,
        "draft_vocab_size": DRAFT_VOCABULARY,
        "dtype": "bfloat16",
        "head_dim": g.head_dim,
        "hidden_act": "silu",
        "hidden_size": g.hidden,
        "initializer_range": 0.02,
        "intermediate_size": DRAFT_WIDTH * g.hidden,
        "max_position_embeddings": g.context,
        "num_attention_heads": g.query_heads,
        "num_hidden_layers": 1,
        "num_key_value_heads": g.kv_heads,
        "rms_norm_eps": g.norm_epsilon,
        "rope_theta": g.rope_theta,
        "tie_word_embeddings": False,
        "vocab_size": VOCABULARY,
    }
