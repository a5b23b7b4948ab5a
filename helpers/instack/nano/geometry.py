"""The geometry of gpt-oss-nano and the configuration files that describe it to vLLM and transformers."""

from dataclasses import dataclass

VOCABULARY = 201_088  # rows of gpt-oss's embedding; o200k_harmony names 200,019 of them
TEXT_TOKENS = 199_998  # ordinary o200k tokens; special tokens come after them
END_OF_TEXT, RETURN, CALL = 199_999, 200_002, 200_012
# Every special token of o200k_harmony as the published tokenizer names it.
SPECIAL_TOKENS = {
    "<|startoftext|>": 199_998,
    "<|endoftext|>": END_OF_TEXT,
    "<|return|>": RETURN,
    "<|constrain|>": 200_003,
    "<|channel|>": 200_005,
    "<|start|>": 200_006,
    "<|end|>": 200_007,
    "<|message|>": 200_008,
    "<|call|>": CALL,
    "<|endofprompt|>": 200_018,
}
SPECIAL_TOKENS |= {
    f"<|reserved_{number}|>": number for number in range(TEXT_TOKENS, 200_019) if number not in SPECIAL_TOKENS.values()
}


@dataclass(frozen=True)
class CheckpointGeometry:
    """Sizes of the network; `layers` alternate sliding and full attention, beginning with a sliding one."""

    layers: int = 6
    hidden: int = 256
    intermediate: int = 256
    experts: int = 4
    experts_per_token: int = 2
    query_heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    sliding_window: int = 128
    rope_theta: float = 150_000.0
    rope_factor: float = 32.0
    rope_original_context: int = 4096
    rope_beta_fast: float = 32.0
    rope_beta_slow: float = 1.0
    context: int = 131_072
    norm_epsilon: float = 1e-5
    swiglu_limit: float = 7.0
    swiglu_alpha: float = 1.702

    def config(self, form: str) -> dict:
        """`config.json` with the keys of the published gpt-oss checkpoints; `form` is bf16 or mxfp4."""
        config = {
            "architectures": ["GptOssForCausalLM"],
            "attention_bias": True,
            "attention_dropout": 0.0,
            "dtype": "bfloat16",
            "eos_token_id": RETURN,
            "experts_per_token": self.experts_per_token,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initial_context_length": self.rope_original_context,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate,
            "layer_types": ["full_attention" if layer % 2 else "sliding_attention" for layer in range(self.layers)],
            "max_position_embeddings": self.context,
            "model_type": "gpt_oss",
            "num_attention_heads": self.query_heads,
            "num_experts_per_tok": self.experts_per_token,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "num_local_experts": self.experts,
            "output_router_logits": False,
            "pad_token_id": END_OF_TEXT,
            "rms_norm_eps": self.norm_epsilon,
            "rope_scaling": {
                "beta_fast": self.rope_beta_fast,
                "beta_slow": self.rope_beta_slow,
                "factor": self.rope_factor,
                "original_max_position_embeddings": self.rope_original_context,
                "rope_type": "yarn",
                "truncate": False,
            },
            "rope_theta": self.rope_theta,
            "router_aux_loss_coef": 0.9,
            "sliding_window": self.sliding_window,
            "swiglu_limit": self.swiglu_limit,
            "tie_word_embeddings": False,
            "use_cache": True,
            "vocab_size": VOCABULARY,
        }
        if form == "mxfp4":
            config["quantization_config"] = {
                "modules_to_not_convert": [
                    "model.layers.*.self_attn",
                    "model.layers.*.mlp.router",
                    "model.embed_tokens",
                    "lm_head",
                ],
                "quant_method": "mxfp4",
            }
        return config


GENERATION_CONFIG = {
    "bos_token_id": 199_998,
    "do_sample": False,
    "temperature": 0.0,  # greedy unless a request asks otherwise: a test model answers the same every time
    "eos_token_id": [RETURN, END_OF_TEXT, CALL],
    "pad_token_id": END_OF_TEXT,
}
