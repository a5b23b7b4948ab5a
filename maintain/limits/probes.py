"""Does this vLLM still have a known limit of the recipes? Asked of its own classes, and of a model where only answers tell.

    STACK_PYTHON -m maintain.limits.probes LIMIT

prints {"vllm": ..., "state": ..., "said": ...} with the states of `maintain.limits.rewind`.
"""

import importlib
import json
import sys
from importlib.metadata import version
from inspect import getsource
from pathlib import Path
from unittest.mock import MagicMock

from maintain.limits.rewind import ENDS, GOES_ON, UNKNOWN

CONNECTORS = "vllm.distributed.kv_transfer.kv_connector.v1"
KNOWN = {"17 times 23": "391", "144 divided by 12, plus 30": "42", "1000 minus 358": "642"}
GFX950 = 90500  # as the AMD driver writes it into the node's properties


def named(module: str, name: str):
    """A class of vLLM."""
    return getattr(importlib.import_module(module), name)


def balanced() -> tuple[str, str]:
    """Whether expert-parallel load balancing knows gpt-oss."""
    model = named("vllm.model_executor.models.gpt_oss", "GptOssForCausalLM")
    interface = named("vllm.model_executor.models.interfaces", "MixtureOfExperts")
    found = interface in model.__mro__
    return (
        GOES_ON if found else ENDS
    ), f"GptOssForCausalLM is {'' if found else 'not '}of the MixtureOfExperts interface"


def two_groups() -> tuple[str, str]:
    """Whether LMCache's connector moves more than one group of KV caches."""
    connector = named(f"{CONNECTORS}.lmcache_connector", "LMCacheConnectorV1")
    found = issubclass(connector, named(f"{CONNECTORS}.base", "SupportsHMA"))
    return (GOES_ON if found else ENDS), f"LMCacheConnectorV1 is {'' if found else 'not '}of SupportsHMA"


def adapted() -> tuple[str, str]:
    """Whether experts get kernels that can run here once adapters are on."""
    chosen = named("vllm.model_executor.layers.fused_moe.oracle.unquantized", "select_unquantized_moe_backend")
    backend, _ = chosen(MagicMock(is_lora_enabled=True, moe_backend="auto"))
    lost = backend.name == "TRITON" and not importlib.import_module("vllm.triton_utils").HAS_TRITON
    return (
        ENDS if lost else GOES_ON
    ), f"with --enable-lora the experts go to {backend.name}{', which is not here' if lost else ''}"


def fp8_refused() -> tuple[str, str]:
    """Whether the Triton attention backend refuses an FP8 KV cache on older cards."""
    words = "FP8 KV cache is not supported by the Triton attention backend"
    found = words in getsource(named("vllm.v1.attention.backends.triton_attn", "TritonAttentionImpl"))
    return (ENDS if found else UNKNOWN), f"its source {'holds' if found else 'no longer holds'} the refusal"


def word_salad(nodes: Path = Path("/sys/class/kfd/kfd/topology/nodes")) -> tuple[str, str]:
    """Whether gpt-oss-20b answers known sums with AITER's MoE kernels, on the machine that they are for."""
    if not any(f"gfx_target_version {GFX950}" in file.read_text() for file in nodes.glob("*/properties")):
        return UNKNOWN, "no gfx950 GPU here to ask"
    return judged(answers(list(KNOWN)))


def judged(said: list[str]) -> tuple[str, str]:
    """Known sums and their answers: any wrong one means that the kernels still are."""
    wrong = [
        f"{ask}: {text[:60]!r}" for (ask, right), text in zip(KNOWN.items(), said, strict=True) if right not in text
    ]
    return (
        (ENDS, "; ".join(wrong)) if wrong else (GOES_ON, f"{len(said)} of {len(said)} sums right with AITER's MoE on")
    )


def answers(questions: list[str]) -> list[str]:
    """What gpt-oss-20b answers with AITER's MoE on; only the final channel counts, the reasoning stays fluent."""
    import os

    os.environ.update(VLLM_ROCM_USE_AITER="1", VLLM_ROCM_USE_AITER_MOE="1")
    from vllm import LLM, SamplingParams

    llm = LLM("openai/gpt-oss-20b", attention_backend="ROCM_AITER_UNIFIED_ATTN", max_model_len=4096)
    settings = SamplingParams(temperature=0, max_tokens=1024, skip_special_tokens=False)
    asked = [[{"role": "user", "content": f"How much is {one}? Answer with the number."}] for one in questions]
    return [one.outputs[0].text.partition("<|channel|>final<|message|>")[2] for one in llm.chat(asked, settings)]


PROBES = {
    "no-expert-balancing": balanced,
    "lmcache-two-kv-groups": two_groups,
    "adapters-without-triton": adapted,
    "fp8-kv-below-8-9": fp8_refused,
    "aiter-moe-word-salad": word_salad,
}


def main() -> None:
    try:
        state, said = PROBES[sys.argv[1]]()
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # vLLM's code is another
        state, said = UNKNOWN, f"{type(error).__name__}: {error}"
    print(json.dumps({"vllm": version("vllm"), "state": state, "said": said}))


if __name__ == "__main__":
    main()
