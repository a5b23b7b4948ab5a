"""Drill on LoRA adapters: a CPU server that has one ends at its first request, and a user learns why."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from damage import Place, wait

from helpers.recipes import load_model
from helpers.server import port_free
from maintain.sizing.adapters import fragment

drill = pytest.mark.drill
pytestmark = pytest.mark.full
RANK, NAME = 4, "zeros"


def adapter(folder: Path) -> Path:
    """An adapter of attention, of zeros, as PEFT writes one."""
    geometry = load_model("gpt-oss-nano").geometry
    hidden = geometry.hidden_size
    query, keys = (heads * geometry.head_dim for heads in (geometry.attention_heads, geometry.kv_heads))
    sizes = {"q_proj": (hidden, query), "k_proj": (hidden, keys), "v_proj": (hidden, keys), "o_proj": (query, hidden)}
    header, end = {}, 0
    for layer in range(geometry.layers):
        for module, (inputs, outputs) in sizes.items():
            for half, shape in (("A", [RANK, inputs]), ("B", [outputs, RANK])):
                begin, end = end, end + 2 * shape[0] * shape[1]
                name = f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{half}.weight"
                header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    told = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": list(sizes), "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    return folder


@pytest.fixture
def adapted(place: Place, interpreter, checkpoint) -> Iterator:
    """A real server of the CPU recipe with the flags of recipes/lora.yaml."""
    from helpers.recipes.command.serve import flags_and_env
    from helpers.runs.run import Run

    run = Run("cpu", {"run_dir": str(place.folder / "run"), "port": place.port})
    run.install()
    run.weights()
    run.load_client = lambda: None
    run.more = flags_and_env(fragment())[0] | {"--lora-modules": (f"{NAME}={adapter(place.folder / NAME)}",)}
    yield run.launch()


@drill("any request to a CPU server with --enable-lora, here one for the base")
def test_a_request_beside_an_adapter(place: Place, adapted, cli_process, said) -> None:
    """the engine ends, the port is free, the doctor names the cause and the flag; where this fails, the limit can go"""
    with httpx.Client(base_url=adapted.base_url, timeout=60) as web:
        assert {model["id"] for model in web.get("/v1/models").json()["data"]} == {adapted.model, NAME}
        body = {"model": adapted.model, "prompt": "The capital of France is", "max_tokens": 1}
        assert web.post("/v1/completions", json=body).status_code == 500, "this vLLM serves adapters on a CPU"
    assert wait(lambda: not adapted.members() and port_free(place.port), 90)
    done = cli_process("doctor", str(adapted.log), timeout=120)
    assert done.returncode == 1 and "--enable-lora" in done.stdout, done.stdout
    said(next(line for line in done.stdout.splitlines() if line.startswith("LO10 ")))
    place.assert_nothing_left()
