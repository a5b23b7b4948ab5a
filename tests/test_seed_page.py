"""The page on the guide of August 2025: complete, in step with its data, its commands true."""

import re
import shlex

import pytest
import yaml

from helpers.recipes import RecipeError
from helpers.recipes.seed import PAGE, load_seed, page

# What the guide names: options, variables, images and endpoints.
TOKENS = """--async-scheduling --tensor-parallel-size --tensor_parallel_size --compilation-config --block-size --model
--gpu-memory-utilization --max-num-batched-tokens --max-model-len --max-num-seqs --no-enable-prefix-caching --tool-server
--eval --n-threads --extra-index-url --index-strategy --ipc=host --gpus --shm-size --device --group-add --cap-add
VLLM_USE_TRTLLM_ATTENTION VLLM_USE_TRTLLM_DECODE_ATTENTION VLLM_USE_TRTLLM_CONTEXT_ATTENTION
VLLM_USE_FLASHINFER_MXFP4_MOE VLLM_USE_FLASHINFER_MXFP4_BF16_MOE VLLM_ROCM_USE_AITER VLLM_USE_AITER_UNIFIED_ATTENTION
VLLM_ROCM_USE_AITER_MHA VLLM_USE_AITER_TRITON_FUSED_SPLIT_QKV_ROPE VLLM_USE_AITER_TRITON_FUSED_ADD_RMSNORM_PAD
VLLM_USE_AITER_TRITON_GEMM TRITON_HIP_PRESHUFFLE_SCALES EXA_API_KEY PYTHON_EXECUTION_BACKEND full_cuda_graph compile_sizes
vllm/vllm-openai:gptoss rocm/vllm-dev:open-mi355-08052025 rocm/vllm-dev:open-mi300-08052025
rocm/vllm-dev:open-r9700-08052025 /v1/responses /v1/chat/completions /v1/completions include_reasoning 120b-low 120b-high
aime25 gpqa browser_server.py:mcp python_server.py:mcp tl.language drun annotations max_tokens"""


def test_every_instruction_of_the_guide_has_an_entry():
    said = "\n".join(entry.seed for entry in load_seed().entries())
    assert [token for token in TOKENS.split() if token not in said] == []


def test_the_page_is_in_step_with_its_data():
    assert PAGE.read_text() == page(load_seed())


def test_a_faulty_entry_is_named(tmp_path):
    path = tmp_path / "seed.yaml"
    path.write_text(yaml.safe_dump({"checked_with": "0.32.0", "sections": [
        {"title": "One", "entries": [{"seed": "--flag", "kind": "flagg", "became": "gone", "since": "now"}]}]}))  # fmt: skip
    with pytest.raises(RecipeError) as raised:
        load_seed(path)
    assert "sections.0.entries.0.kind" in str(raised.value) and "sections.0.entries.0.now: missing" in str(
        raised.value
    )


def test_the_cookbooks_commands_on_the_page_render():
    from typer.testing import CliRunner

    from helpers.cli import application

    words = {
        match
        for entry in load_seed().entries()
        for match in re.findall(r"`(cookbook command [^`]*)`", entry.now)
    }
    commands = [text for text in words if "TARGET" not in text]
    assert len(commands) >= 6
    for text in commands:
        result = CliRunner().invoke(application(), shlex.split(text)[1:])
        assert result.exit_code == 0 and "serve openai/gpt-oss" in result.output, text


def test_commands_with_a_verdict_are_the_guides_own():
    """What is put before the parser is what the entry quotes, not something near it."""
    for entry in load_seed().entries():
        if entry.parse and entry.kind == "command" and "..." not in entry.seed:
            quoted = shlex.split(re.sub(r" \(.*\)$", "", entry.seed))
            assert quoted == ["vllm", *entry.parse.argv], entry.seed
        if entry.parse and entry.kind == "variable":
            name, value = entry.seed.split("=")
            assert entry.parse.env == {name: value}
