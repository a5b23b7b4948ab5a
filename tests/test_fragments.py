"""Fragments: laid over every recipe that may have them, they pass vLLM's own parser; what they say of vLLM is still so."""

import json
from pathlib import Path

import pytest

from helpers.doctor.signatures import load
from helpers.errors import UsageError
from helpers.recipes import check_parameters, load_model, load_target
from helpers.recipes.budget import step_gib
from helpers.recipes.command import Command, serve_command
from helpers.records.curves import load_records
from maintain.deploy import page
from maintain.deploy.fragments import disaggregated, extended, fragments, long_requests, offloaded_tokens
from maintain.parser import check_commands

TARGETS = ("h200", "h100", "b200", "mi300x", "rtx4090")


def command(name: str, *parts: str, model: str = "gpt-oss-20b") -> Command:
    target = load_target(name)
    parameters = check_parameters(target, {"model": model})
    about = load_model(model)
    return extended(serve_command(target, about, parameters, about.hub_id, 8000), list(parts))


def test_a_fragment_takes_away_what_contradicts_it():
    plain = command("h200")
    given = plain.changed({"--no-enable-prefix-caching": ()})
    laid = extended(given, ["agentic", "kv-offload"], host_gib=7)
    assert "--no-enable-prefix-caching" not in laid.flags and laid.flags["--max-num-batched-tokens"] == ("32768",)
    assert f'"cpu_bytes_to_use_per_rank":{7 * 2**30}' in laid.flags["--kv-transfer-config"][0]
    for name in ("nothing", "disaggregated"):
        with pytest.raises(UsageError, match="is no fragment of a server"):
            extended(plain, [name])


def test_two_servers_take_a_role_and_devices_each():
    target = load_target("h200")
    parameters = check_parameters(target, {"model": "gpt-oss-20b"})
    texts = disaggregated(command("h200"), target, parameters)
    assert '"kv_role":"kv_producer"' in texts["prefill.sh"] and "CUDA_VISIBLE_DEVICES=0" in texts["prefill.sh"]
    assert '"kv_role":"kv_consumer"' in texts["decode.sh"] and "CUDA_VISIBLE_DEVICES=1" in texts["decode.sh"]
    with pytest.raises(UsageError, match="cannot be parted on a CPU"):
        disaggregated(command("h200"), load_target("cpu"), parameters)


def test_the_router_takes_the_words_of_two_roles():
    import shlex

    from vllm_router.launch_router import parse_router_args

    target = load_target("h200")
    texts = disaggregated(command("h200"), target, check_parameters(target, {"model": "gpt-oss-20b"}))
    words = shlex.split(texts["router.sh"], comments=True)
    parsed = parse_router_args(words[words.index("vllm-router") + 1 :])
    assert parsed.vllm_pd_disaggregation and parsed.decode_urls == ["http://127.0.0.1:8001"]


def test_what_a_fragment_names_is_known():
    known = {signature.id for signature in load()}
    assert {"ME6", "ME7", "F25"} <= known
    assert all(one.measured and one.constraint and one.source for one in fragments().values())


def test_memory_follows_from_the_models_geometry():
    target, model = load_target("h200"), load_model("gpt-oss-120b")
    parameters = check_parameters(target, {"model": "gpt-oss-120b"})
    gib, count = long_requests(target, model, parameters, 131_072)
    full = 18 * 131_072 * 2 * 8 * 64 * 2 / 2**30  # layers, tokens, keys and values, heads, width, bytes
    assert gib == pytest.approx(full, rel=0.01) and 5 < count < 20
    assert offloaded_tokens(target, model, parameters, 100) == pytest.approx(100 / full * 131_072, rel=0.01)
    assert step_gib(model, 32_768) == pytest.approx(4 * step_gib(model, 8192))


@pytest.mark.full
def test_every_fragment_passes_vllms_own_parser(interpreter: Path):
    asked = []
    for name in TARGETS:
        for part, one in fragments().items():
            if not one.paired:
                made = command(name, part)
                asked.append({"id": f"{name}/{part}", "argv": made.words, "env": made.env})
    target = load_target("h200")
    for role in ("kv_producer", "kv_consumer"):
        made = command("h200").changed(fragments()["disaggregated"].flags(0, role))
        asked.append({"id": f"{target.target}/{role}", "argv": made.words, "env": made.env})
    broken = command("h200").changed({"--max-model-length": ("131072",)})
    asked.append({"id": "broken", "argv": broken.words, "env": broken.env})
    answer = check_commands(interpreter, asked)
    faulty = {item["id"]: item["faults"] for item in answer["answers"] if item.get("faults")}
    assert faulty.keys() == {"broken"}, faulty


@pytest.mark.real
def test_vllm_still_offloads_on_gpus_alone(interpreter: Path):
    """Why kv-offload is not run on the CPU. The day this fails, it can be."""
    package = next(interpreter.parents[1].glob("lib/python3*/site-packages/vllm"))
    assert "only supported on CUDA-alike" in (package / "v1/kv_offload/cpu/spec.py").read_text()
    assert "torch.cuda.Stream" in (package / "v1/simple_kv_offload/copy_backend.py").read_text()
    classes = (package / "model_executor/models/gpt_oss.py").read_text()
    assert "class GptOssForCausalLM" in classes and "MixtureOfExperts" not in classes


def test_what_was_measured_here_stands_first(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "RECORDS", tmp_path)
    assert "None was run here on a GPU." in page.extending()
    row = {
        "prompt_tokens": 131072,
        "known_in_gpu": 512,
        "known_in_host": 0,
        "ttft_p50_ms": 900.4,
        "output_tok_s": 100.0,
    }
    about = {"model": "gpt-oss-20b", "weights": "synthetic", "gpu": "an H100", "vllm": "0.32.0", "day": "2026-11-27"}
    about["argv"] = ["--port", "8000", "--kv-cache-memory-bytes", str(8 * 2**30)]
    without = about | {"state": "passed", "variant": "", "rows": [row, row]}
    laid = without | {"variant": "KV cache in 48 GiB of host memory"}
    laid["rows"] = [row, row | {"known_in_host": 130000, "ttft_p50_ms": 200.2}]
    folder = tmp_path / "h100" / "evidence"
    folder.mkdir(parents=True)
    for name, told in (("", without), ("-offload", laid)):
        (folder / f"gpt-oss-20b-recurring{name}.json").write_text(json.dumps(told))
    text = page.extending()
    assert "Of them kv-offload ran here on a GPU." in text
    assert "and host memory 130,000; TTFT 200 ms against 900 ms, 100 output tok/s against 100 (vLLM 0.32.0" in text
    assert "one run of each, the GPU's KV cache cut to 8 GiB (`--kv-cache-memory-bytes`): of" in text
    record = next(r for r in load_records("h100") if r.model == "gpt-oss-20b" and r.release == "0.32.0")
    for kept, said in ((200_000, True), (100_000, False)):
        record.model_copy(update={"memory": {"kv_cache_tokens": kept}}).write(tmp_path / "h100" / "record.json")
        assert (f"without the cut held {kept:,} tokens" in page.extending()) is said, (
            "only where the prompts would have fitted"
        )
    (folder / "gpt-oss-20b-recurring-offload.json").write_text(json.dumps(laid | {"state": "failed", "rows": []}))
    assert "None was run here on a GPU." in page.extending(), "a step that failed shows nothing"
