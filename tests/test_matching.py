"""The recipe of a machine: the right one for every device that has one, the nearest with its reason for the rest."""

import pytest

from helpers.recipes.matching import SeenDevice, best_target

EXACT = [
    ("h100", SeenDevice("nvidia", "NVIDIA H100 80GB HBM3", "9.0", memory_gib=79.6)),
    ("h200", SeenDevice("nvidia", "NVIDIA H200", "9.0", memory_gib=139.8)),
    ("a100", SeenDevice("nvidia", "NVIDIA A100-SXM4-80GB", "8.0", memory_gib=79.2)),
    ("l40s", SeenDevice("nvidia", "NVIDIA L40S", "8.9", memory_gib=44.4)),
    ("rtx4090", SeenDevice("nvidia", "NVIDIA GeForce RTX 4090", "8.9", memory_gib=24.0)),
    ("rtx5090", SeenDevice("nvidia", "NVIDIA GeForce RTX 5090", "12.0", memory_gib=31.8)),
    ("rtx_pro_6000", SeenDevice("nvidia", "NVIDIA RTX PRO 6000 Blackwell Server Edition", "12.0", memory_gib=95.0)),
    ("dgx_spark", SeenDevice("nvidia", "NVIDIA GB10", "12.1")),
    ("b200", SeenDevice("nvidia", "NVIDIA B200", "10.0", memory_gib=179.1)),
    ("gb200", SeenDevice("nvidia", "NVIDIA GB200", "10.0", memory_gib=184.0)),
    ("b300", SeenDevice("nvidia", "NVIDIA B300 SXM6 AC", "10.3", memory_gib=268.0)),
    ("mi300x", SeenDevice("amd", "AMD Instinct MI300X", gfx="gfx942", memory_gib=192.0)),
    ("mi325x", SeenDevice("amd", "AMD Instinct MI325X", gfx="gfx942", memory_gib=256.0)),
    ("mi355x", SeenDevice("amd", "AMD Instinct MI355X", gfx="gfx950", memory_gib=288.0)),
    ("mi355x", SeenDevice("amd", "AMD Instinct MI350X", gfx="gfx950", memory_gib=288.0)),
    ("r9700", SeenDevice("amd", "AMD Radeon AI PRO R9700", gfx="gfx1201", memory_gib=31.9)),
    ("arc_pro_b60", SeenDevice("intel", "Intel(R) Arc(TM) Pro B60 Graphics", memory_gib=23.9)),
    ("cpu", SeenDevice("cpu")),
]
NEAREST = [
    ("a100", SeenDevice("nvidia", "NVIDIA A100-PCIE-40GB", "8.0", memory_gib=40.0), "it has 80 GiB"),
    ("h200", SeenDevice("nvidia", "NVIDIA GH200 144G HBM3e", "9.0", memory_gib=140.0), "the name differs"),
    ("h100", SeenDevice("nvidia", "NVIDIA H20", "9.0", memory_gib=96.0), "it has 80 GiB"),
    ("rtx4090", SeenDevice("nvidia", "NVIDIA GeForce RTX 3090", "8.6", memory_gib=24.0), "compute capability is 8.9"),
    ("rtx5090", SeenDevice("nvidia", "NVIDIA GeForce RTX 5080", "12.0", memory_gib=16.0), "it has 32 GiB"),
    ("b300", SeenDevice("nvidia", "NVIDIA GB300", "10.3", memory_gib=277.0), "the name differs"),
    ("r9700", SeenDevice("amd", "AMD Radeon RX 9070 XT", gfx="gfx1201", memory_gib=16.0), "it has 32 GiB"),
    ("mi300x", SeenDevice("amd", "AMD Instinct MI300A", gfx="gfx942", memory_gib=128.0), "it has 192 GiB"),
    ("cpu", SeenDevice("nvidia", "Tesla T4", "7.5", memory_gib=15.0), "too old for MXFP4"),
]


@pytest.mark.parametrize(("target", "device"), EXACT, ids=lambda value: getattr(value, "name", value))
def test_a_device_with_a_recipe_gets_it(target: str, device: SeenDevice):
    fit = best_target(device)
    assert (fit.target, fit.exact) == (target, True), fit.why


@pytest.mark.parametrize(("target", "device", "why"), NEAREST, ids=lambda value: getattr(value, "name", value))
def test_another_device_gets_the_nearest_with_its_reason(target: str, device: SeenDevice, why: str):
    fit = best_target(device)
    assert (fit.target, fit.exact) == (target, False) and why in fit.why, fit
