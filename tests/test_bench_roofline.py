"""The roofline against hand-worked figures and the model cards."""

import pytest

from helpers.bench import roofline as physics
from helpers.bench.sweep import Load
from helpers.recipes import load_model, load_target
from helpers.recipes.target import Device

H200 = Device(memory_gib=141, bandwidth_gb_s=4800, bf16_tflops=989, source="the worked figures")


def load(users: int) -> Load:
    return Load(concurrency=users, input_tokens=1024, output_tokens=1024, prompts=3 * users)


@pytest.mark.parametrize(
    ("name", "total", "size_gib"), [("gpt-oss-20b", 20.91, 12.82), ("gpt-oss-120b", 116.83, 60.77)]
)
def test_geometry_gives_the_model_cards_sizes(name, total, size_gib):
    geometry = load_model(name).geometry
    expert = physics.expert_weights(geometry) + 2 * geometry.intermediate_size + geometry.hidden_size
    layer = physics.attention_parameters(geometry) + physics.router_parameters(geometry) + geometry.experts * expert
    ends = 2 * geometry.vocab_size * geometry.hidden_size + geometry.hidden_size
    assert (geometry.layers * layer + ends) / 1e9 == pytest.approx(total, abs=0.005)
    embedding = physics.BF16 * geometry.vocab_size * geometry.hidden_size
    experts = geometry.layers * geometry.experts * physics.expert_bytes(geometry, "mxfp4")
    whole = physics.always_read_bytes(geometry) + embedding + experts
    assert whole / 2**30 == pytest.approx(size_gib, abs=0.01)
    assert whole == load_model(name).weights.bytes


def test_worked_steps():
    small, large = load_model("gpt-oss-20b"), load_model("gpt-oss-120b")
    assert physics.expert_bytes(large.geometry, "mxfp4") / 1e6 == pytest.approx(13.236, abs=0.001)
    assert physics.always_read_bytes(small.geometry) / 1e9 == pytest.approx(2.437, abs=0.001)
    assert physics.always_read_bytes(large.geometry) / 1e9 == pytest.approx(3.097, abs=0.001)
    assert physics.experts_hit(128, 4, 64) == pytest.approx(111.2, abs=0.05)
    assert physics.experts_hit(32, 4, 1) == pytest.approx(4)


@pytest.mark.parametrize(
    ("name", "users", "gigabytes", "tpot", "decode", "overlap", "serial"),
    [
        ("gpt-oss-20b", 1, 3.75, 0.781, 1280, 1280, 1270),
        ("gpt-oss-20b", 64, 15.2, 3.17, 20182, 20182, 17921),
        ("gpt-oss-20b", 256, 23.1, 4.81, 53227, 53227, 39939),
        ("gpt-oss-20b", 1024, 54.5, 11.4, 90129, 72062, 57650),
        ("gpt-oss-120b", 1, 5.06, 1.055, 948, 948, 939),
        ("gpt-oss-120b", 64, 60.0, 12.5, 5118, 5118, 4883),
        ("gpt-oss-120b", 256, 79.8, 16.6, 15399, 15399, 13453),
        ("gpt-oss-120b", 1024, 127, 26.5, 38707, 38707, 28384),
    ],
)
def test_worked_bounds_on_one_h200(name, users, gigabytes, tpot, decode, overlap, serial):
    limit = physics.bound(load_model(name), H200, load(users))
    assert limit.step_gb == pytest.approx(gigabytes, rel=0.005)
    assert limit.tpot_ms == pytest.approx(tpot, rel=0.005)
    assert limit.decode_tok_s == pytest.approx(decode, rel=0.002)
    assert limit.overlap_tok_s == pytest.approx(overlap, rel=0.002)
    assert limit.serial_tok_s == pytest.approx(serial, rel=0.002)


def test_replicas_and_tensor_parallel_share_the_load():
    model = load_model("gpt-oss-20b")
    one = physics.bound(model, H200, load(64))
    four = physics.bound(model, H200, load(256), replicas=4)
    assert four.overlap_tok_s == pytest.approx(4 * one.overlap_tok_s)
    split = physics.bound(model, H200, load(64), tensor_parallel=2)
    assert split.tpot_ms == pytest.approx(one.tpot_ms / 2)


def test_an_unknown_device_has_no_roofline():
    model = load_model("gpt-oss-nano")
    assert physics.roofline(model, load_target("cpu").device)(load(1)) is None
    assert physics.roofline(load_model("gpt-oss-20b"), H200)(load(1)) == pytest.approx(1280, rel=0.002)
