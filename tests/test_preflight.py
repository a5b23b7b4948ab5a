"""Preflight: each check says ✗ on the machine that lacks the thing, and reads real facts of this one."""

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from helpers.cli import application
from helpers.errors import CookbookError
from helpers.machine import preflight
from helpers.machine.preflight import gpus, host, software
from helpers.machine.preflight.installed import DEAD_VARIABLES
from helpers.machine.preflight.judge import CHECKS, judge
from helpers.machine.preflight.machine import Disk, Gpu, Holder, Machine, Need
from helpers.recipes import check_parameters, load_target

H200 = Gpu(0, "NVIDIA H200", 139.8, 139.2, "9.0", links=18, fabric=3)
HOST = Machine(
    vendor="nvidia",
    gpus=[H200, replace(H200, index=1)],
    driver="580.65.06",
    cuda="13.0",
    cpu="Xeon",
    cores=32,
    architecture="x86_64",
    cpu_flags=["avx2", "avx512f", "amx_bf16"],
    memory_gib=256,
    available_gib=240,
    shm_gib=16,
    disks={name: Disk(f"/{name}", 500) for name in ("weights", "stacks", "cache", "compile", "runs")},
    ports={8000: ""},
    python="3.11.7",
    tools={"uv": "/bin/uv", "docker": "usable"},
    hub="",
    clock_skew_s=0.4,
    year=2026,
    packages={"cuda": {"vllm": "0.32.0", "triton": "3.7.1", "oss-harmony": "0.0.11", "torch": "2.13.0+cu130"}},
    compiler="/usr/bin/gcc",
    headers={"cuda": True},
    pins={"cuda": "2.13.0"},
    harmony={"cuda": "00fa2470"},
    unknown_variables={"cuda": []},
)
NEED = Need(
    target="h200",
    vendor="nvidia",
    install="cuda",
    stack="cuda",
    gpu="NVIDIA H200",
    gpu_memory=140.4,
    compute_capability="9.0",
    gpu_name=r"\bH200",
    gpus=2,
    tensor_parallel=2,
    gpu_free=128,
    host_memory=8,
    driver=580,
    weights_disk=61,
    stack_disk=12,
    cache_disk=1,
    hub_id="openai/gpt-oss-120b",
    port=8000,
    budget="it fits",
)


def marks(machine, need=NEED):
    return {check.name: check.mark for check in judge(machine, need)}


def test_a_machine_with_everything_passes():
    elsewhere = ("Device files", "Weights folder", "CUDA toolkit", "WSL2", "KV cache in fp8", "NUMA library")
    assert {mark for name, mark in marks(HOST).items() if name not in elsewhere} == {"✓"}


def test_uv_is_asked_for_only_where_a_stack_has_to_be_built():
    without = replace(HOST, tools={})
    assert [marks(without, replace(NEED, stack_disk=gib))["uv"] for gib in (0.0, 9.0)] == ["–", "✗"]
    assert marks(HOST, replace(NEED, stack_disk=0.0))["uv"] == "✓"


def test_a_cpu_needs_libnuma_and_a_gpu_does_not():
    """A minimal Debian lacks it: vLLM's CPU build then ends as it is imported."""
    bare, on_cpu = replace(HOST, numa=False), replace(NEED, gpu="")
    assert marks(bare, on_cpu)["NUMA library"] == "✗" and marks(HOST, on_cpu)["NUMA library"] == "✓"
    assert marks(bare)["NUMA library"] == "–"
    (found,) = [check for check in judge(bare, on_cpu) if check.name == "NUMA library"]
    assert "apt-get install libnuma1" in found.fix


def gpu(**changes):
    return {"gpus": [replace(H200, **changes), replace(H200, index=1)]}


def disks(name, **changes):
    return {"disks": {**HOST.disks, name: replace(HOST.disks[name], **changes)}}


def packages(**more):
    return {"packages": {"cuda": {**HOST.packages["cuda"], **{k.replace("_", "-"): v for k, v in more.items()}}}}


BROKEN = [
    ("GPU", {"gpus": []}, "no GPU"),
    ("GPU", gpu(name="NVIDIA A100", compute_capability="8.0"), "A100"),
    ("GPU count", {"gpus": [H200]}, "1"),
    (
        "GPU memory free",
        gpu(free_gib=3.1, holders=[Holder(4711, "VLLM::EngineCore", 130)]),
        "pid 4711 VLLM::EngineCore",
    ),
    ("MIG", gpu(mig=True), "GPU 0"),
    ("Driver", {"driver": "550.54"}, "550.54"),
    ("NVLink fabric", gpu(fabric=1), "not started"),
    ("C compiler", {"compiler": ""}, "no C compiler"),
    ("C compiler", {"headers": {"cuda": False}}, "no Python.h"),
    ("/dev/shm", {"shm_gib": 0.0625}, "0.06 GiB"),
    ("Memory", {"available_gib": 2, "memory_gib": 4, "limited": True}, "container"),
    ("Processor", {"architecture": "ppc64le"}, "ppc64le"),
    ("Disk for weights", disks("weights", free_gib=20), "20 GiB"),
    ("Disk for the stack", disks("stacks", free_gib=3), "3 GiB"),
    ("Disk for models", disks("cache", free_gib=0), "0 GiB"),
    ("Disk for kernels", disks("compile", free_gib=1), "1 GiB"),
    ("Disk for runs", disks("runs", writable=False), "not writable"),
    ("Port", {"ports": {8000: "pid 7 (jupyter-lab)"}}, "jupyter-lab"),
    ("Python", {"python": "3.10.2"}, "3.10.2"),
    ("uv", {"tools": {}}, "not found"),
    ("Model hub", {"hub": "ConnectError: no route"}, "no route"),
    ("Clock", {"clock_skew_s": 4000.0}, "+4000 s"),
    ("Clock", {"clock_skew_s": None, "year": 1970}, "1970"),
    ("Harmony vocabulary", {"vocabulary": "sha256 00000000, not 446a9538"}, "sha256"),
    ("Packages", packages(pytorch_triton="3.4"), "triton and pytorch-triton"),
    ("Packages", packages(openai_harmony="0.0.8"), "F3"),
    ("Packages", {"harmony": {"cuda": "4c883161"}}, "F3"),
    ("Packages", {"harmony": {"cuda": ""}}, "F3"),
    ("Packages", packages(mcp="1.30.0"), "F41"),
    ("Packages", packages(flashinfer_python="0.7.0.post1", flashinfer_cubin="0.6.12"), "IN5"),
    ("Packages", packages(torch="2.14.0"), "torch 2.14.0 where vLLM asks for 2.13.0"),
    ("VLLM_* variables", {"service_port": "tcp://10.0.0.1:80"}, "a Kubernetes Service named vllm"),
    ("VLLM_* variables", {"unknown_variables": {"cuda": ["VLLM_FOO"]}, "variables": ["VLLM_FOO"]}, "ends the start"),
    ("VLLM_* variables", {"unknown_variables": {}, "variables": ["VLLM_USE_TRTLLM_ATTENTION"]}, "removed names only"),
]
ADVICE = [
    ("Image", {"cuda": "12.4"}, "up to 12.4"),
    ("NVLink", {"gpus": [replace(H200, links=0), replace(H200, links=0)]}, "0 active"),
    ("NVLink", {"gpus": [replace(H200, links=None), replace(H200, links=None)]}, "none"),
    ("Processor", {"architecture": "aarch64"}, "aarch64"),
    ("GPU model", gpu(name="NVIDIA GH200 144G HBM3e"), "GH200"),
    ("GPU model", gpu(memory_gib=96.0), "96 GiB"),
    ("Leases", {"stale_leases": ["a"]}, "1 of servers"),
    ("Stray engines", {"strays": [Holder(9, "VLLM::EngineCore", 60)]}, "pid 9"),
]


@pytest.mark.parametrize(("name", "change", "seen"), BROKEN, ids=[f"{n}-{s}" for n, _, s in BROKEN])
def test_what_is_missing_is_named_and_stops_the_run(name, change, seen):
    found = {check.name: check for check in judge(replace(HOST, **change), NEED)}[name]
    assert found.mark == "✗" and seen in found.seen and found.needed and found.fix


@pytest.mark.parametrize(("name", "change", "seen"), ADVICE, ids=[f"{n}-{s}" for n, _, s in ADVICE])
def test_advice_does_not_stop_the_run(name, change, seen):
    found = {check.name: check for check in judge(replace(HOST, **change), NEED)}[name]
    assert found.mark == "!" and seen in found.seen and found.fix


def test_every_check_can_fail():
    amd = replace(
        NEED,
        vendor="amd",
        install="rocm",
        gpu="AMD Instinct MI300X",
        gfx="gfx942",
        compute_capability=None,
        gpu_name=None,
    )
    able = {name for name, _, _ in BROKEN + ADVICE}
    closed = replace(HOST, vendor="amd", devices={"/dev/kfd": True, "/dev/dri/renderD128": False})
    assert marks(closed, amd)["Device files"] == "✗"
    assert marks(replace(closed, devices={}), amd)["Device files"] == "✗"
    assert marks(HOST, replace(NEED, folder="/tmp", folder_fault="config.json is missing"))["Weights folder"] == "✗"
    names = {check.name for check in judge(HOST, NEED)}
    shown = {"Device files", "docker", "Memory budget", "Weights folder", "NUMA library"}  # here and in the tests below
    assert names - able == shown | {"CUDA toolkit", "WSL2", "KV cache in fp8"} and len(names) == len(CHECKS)


@pytest.mark.parametrize(
    ("nvcc", "more", "mark"),
    [
        ("12.8", {}, "✗"),
        ("12.9", {}, "✓"),
        ("13.0", {}, "✓"),
        ("", {}, "–"),
        ("12.8", {"flashinfer-jit-cache": "0.7"}, "–"),
    ],
)
def test_consumer_blackwell_needs_a_toolkit_that_knows_it(nvcc, more, mark):
    card = replace(H200, name="NVIDIA GeForce RTX 5090", compute_capability="12.0")
    versions = {"cuda": HOST.packages["cuda"] | more}
    assert marks(replace(HOST, gpus=[card], nvcc=nvcc, packages=versions))["CUDA toolkit"] == mark
    assert marks(replace(HOST, nvcc="12.4"))["CUDA toolkit"] == "–", "Hopper is known to older ones"


def test_wsl2_needs_pinned_memory_where_vllm_does_not_go_on_without():
    linux = replace(HOST, wsl="6.6.87.2-microsoft-standard-WSL2")
    assert marks(linux)["WSL2"] == "✓"
    old = replace(linux, packages={"cuda": HOST.packages["cuda"] | {"vllm": "0.28.1"}})
    assert marks(old)["WSL2"] == "✗"
    assert marks(replace(old, variables=["VLLM_WSL2_ENABLE_PIN_MEMORY"]))["WSL2"] == "✓"


@pytest.mark.parametrize(("capability", "mark"), [("8.0", "✗"), ("8.6", "✗"), ("8.9", "✓"), ("12.0", "✓")])
def test_an_fp8_cache_is_refused_below_ada(capability, mark):
    card = replace(H200, compute_capability=capability)
    assert marks(replace(HOST, gpus=[card]), replace(NEED, fp8_kv=True))["KV cache in fp8"] == mark


def test_facts_of_a_toolkit_and_of_an_environment(tmp_path, monkeypatch):
    (tmp_path / "cuda" / "bin").mkdir(parents=True)
    (tmp_path / "cuda" / "bin" / "nvcc").touch()
    (tmp_path / "cuda" / "include").mkdir()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    assert software.nvcc() == "of an unknown version"
    (tmp_path / "cuda" / "include" / "cuda.h").write_text("#define CUDA_VERSION 12080\n")
    assert software.nvcc() == "12.8"
    site = tmp_path / "stack" / "lib" / "python3.12" / "site-packages"
    (site / "vllm-0.32.0.dist-info").mkdir(parents=True)
    metadata = site / "vllm-0.32.0.dist-info" / "METADATA"
    metadata.write_text("Name: vllm\nRequires-Dist: torch==2.13.0\nRequires-Dist: torchvision==0.28.0\n\ntorch==1.0\n")
    assert software.torch_pin(site) == "2.13.0"
    python = tmp_path / "base" / "bin" / "python3.12"
    python.parent.mkdir(parents=True)
    python.touch()
    (tmp_path / "stack" / "bin").mkdir()
    (tmp_path / "stack" / "bin" / "python3").symlink_to(python)
    assert not software.headers(site)
    (tmp_path / "base" / "include" / "python3.12").mkdir(parents=True)
    (tmp_path / "base" / "include" / "python3.12" / "Python.h").touch()
    assert software.headers(site)


def test_what_cannot_fit_is_refused_with_what_would():
    from helpers.machine.preflight.report import requirement
    from helpers.recipes import check_parameters, load_target

    target = load_target("h100")
    given = {"model": "gpt-oss-120b", "tensor_parallel_size": 1, "concurrency": [512], "input_tokens": 8192}
    card = replace(H200, name="NVIDIA H100 80GB HBM3", memory_gib=79.6, free_gib=79.0)
    host = replace(HOST, gpus=[card, card])
    need = requirement(target, check_parameters(target, given), host)
    found = {check.name: check for check in judge(host, need)}["Memory budget"]
    assert found.mark == "✗" and "GiB per device missing" in found.seen and "concurrency up to" in found.fix
    fitting = requirement(target, check_parameters(target, {**given, "concurrency": [1]}), host)
    assert marks(host, fitting)["Memory budget"] == "✓"


def test_mxfp4_on_a_cpu_needs_amx():
    need = Need(mxfp4_on_cpu=True)
    assert marks(HOST, need)["Processor"] == "✓"
    assert marks(replace(HOST, cpu_flags=["avx2", "avx512f"]), need)["Processor"] == "✗"


def test_own_server_on_the_port_is_not_in_the_way():
    busy = replace(HOST, ports={8000: "pid 7 (python)"}, servers={8000: "gpt-oss-20b"}, **gpu(free_gib=1.0))
    assert marks(busy)["Port"] == "✓" and marks(busy)["GPU memory free"] == "!"


def test_report_raises_one_line_with_every_fault():
    report = preflight.Report(judge(replace(HOST, shm_gib=0.06, **disks("weights", free_gib=1)), NEED), "h200", HOST)
    assert not report.passed and report.exit_code == 1
    with pytest.raises(CookbookError, match=r"/dev/shm.*Disk for weights.*--ipc=host") as error:
        report.raise_if_failed()
    assert "\n" not in error.value.line()
    assert "✗" in report.text() and "--ipc=host" in report._repr_html_()


def quickest(look: Callable[[], Any]) -> tuple[Any, float]:
    """What was found, and the seconds of the quickest of three looks: a busy machine delays one of them."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        found = look()
        seconds.append(time.perf_counter() - began)
    return found, min(seconds)


def test_this_machine_for_the_cpu_target():
    target = load_target("cpu")
    report, seconds = quickest(lambda: preflight.check(target, check_parameters(target, {"port": 0})))
    assert seconds < 3
    seen = {check.name: check for check in report.findings}
    assert seen["Memory"].ok is not None and "GiB" in seen["Memory"].seen
    json.dumps(report.to_dict())


def test_rehearsal_asks_for_no_gpu():
    target = load_target("h200")
    need = preflight.report.requirement(
        target, check_parameters(target, {"rehearse": True, "weights": "nano", "port": 0})
    )
    assert need.gpu == "" and need.stack == "cpu" and need.weights_disk == 0


@pytest.mark.parametrize("name", ["h200", "h100", "mi300x", "dgx_spark"])
def test_gpu_targets_ask_for_gpus_and_disk(name):
    target = load_target(name)
    need = preflight.report.requirement(target, check_parameters(target))
    assert need.gpus >= 1 and need.gpu_free > 10 and need.weights_disk > 10 and need.gpu == target.title


def test_detect_is_quick_and_knows_the_processor():
    machine, seconds = quickest(preflight.detect)
    assert seconds < 2
    assert machine.cpu and machine.cores == len(os.sched_getaffinity(0)) and machine.memory_gib > 1
    assert machine.vendor in ("cpu", "nvidia", "amd", "intel") and machine.name in machine.line()


def test_listener_names_the_process():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert f"pid {os.getpid()}" in host.listener(server.getsockname()[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert host.listener(port) == ""


def test_container_limit_is_read(tmp_path):
    (tmp_path / "memory.max").write_text("2147483648\n")
    (tmp_path / "memory.current").write_text("1073741824\n")
    assert host.memory(tmp_path) == (2.0, 1.0, True)
    (tmp_path / "memory.max").write_text("max\n")
    assert host.memory(tmp_path)[2] is False


def test_amd_cards_are_read_from_the_kernel(tmp_path):
    cpu, card = tmp_path / "kfd" / "0", tmp_path / "kfd" / "1"
    for folder, lines in ((cpu, "gfx_target_version 0\n"), (card, "gfx_target_version 90402\ndrm_render_minor 128\n")):
        folder.mkdir(parents=True)
        (folder / "properties").write_text(lines)
    device = tmp_path / "drm" / "renderD128" / "device"
    device.mkdir(parents=True)
    (device / "mem_info_vram_total").write_text(str(192 << 30))
    (device / "mem_info_vram_used").write_text(str(2 << 30))
    (device / "product_name").write_text("AMD Instinct MI300X\n")
    vendor, cards, *_ = gpus.amd(tmp_path / "kfd", tmp_path / "drm")
    assert vendor == "amd" and len(cards) == 1
    assert (cards[0].name, cards[0].gfx, cards[0].memory_gib, cards[0].free_gib) == (
        "AMD Instinct MI300X",
        "gfx942",
        192,
        190,
    )
    assert [gpus.gfx_name(n) for n in (90010, 90500, 120001)] == ["gfx90a", "gfx950", "gfx1201"]
    assert gpus.amd(tmp_path / "none", tmp_path) is None


def intel_tree(root: Path, card: str, device: str, slot: str, driver: str = "xe", vram: int | None = None) -> None:
    """A card as the kernel lists it: a link in class/drm to the folder of the PCI device."""
    folder = root / "sys/devices/pci0000:00" / slot
    folder.mkdir(parents=True)
    (folder / "vendor").write_text("0x8086\n")
    (folder / "device").write_text(f"0x{device}\n")
    (folder / "uevent").write_text(f"DRIVER={driver}\nPCI_SLOT_NAME={slot}\n")
    if vram:
        (folder / "tile0").mkdir()
        (folder / "tile0" / "physical_vram_size_bytes").write_text(f"{vram}\n")
    for name in (card, f"{card}-DP-1"):
        (root / "sys/class/drm" / name).mkdir(parents=True)
        (root / "sys/class/drm" / name / "device").symlink_to(folder)
    (root / "sys/module" / driver).mkdir(parents=True, exist_ok=True)


def test_intel_cards_are_read_from_the_kernel(tmp_path):
    intel_tree(tmp_path, "card0", "7d67", "0000:00:02.0")  # of the processor
    intel_tree(tmp_path, "card1", "e211", "0000:03:00.0", vram=24 << 30)
    intel_tree(tmp_path, "card2", "e2ff", "0000:07:00.0")  # neither named nor measured
    vendor, cards, driver, _, error = gpus.intel(tmp_path)
    assert (vendor, driver, error) == ("intel", "xe", "")
    assert [(card.index, card.name, card.memory_gib) for card in cards] == [
        (0, "Intel Arc Pro B60", 24),
        (1, "Intel GPU 8086:e2ff", 0),
    ]
    (tmp_path / "usr/share/misc").mkdir(parents=True)
    names = "8085  Other\n\te2ff  Wrong\n8086  Intel Corporation\n\te2ff  Battlemage G99 [Arc Z]\n8087  Next\n\te2ff  Wrong\n"
    (tmp_path / "usr/share/misc/pci.ids").write_text(names)
    assert gpus.intel(tmp_path)[1][1].name == "Intel Arc Z"
    assert gpus.intel(tmp_path / "none") is None


def intel_host(tmp_path, **changes) -> Machine:
    intel_tree(tmp_path, "card0", "e211", "0000:03:00.0", **changes)
    vendor, cards, driver, *_ = gpus.intel(tmp_path)
    return replace(HOST, vendor=vendor, gpus=cards, driver=driver, devices={"/dev/dri/renderD128": True})


@pytest.mark.parametrize("vram", [24 << 30, None], ids=["measured", "not measured"])
def test_arc_pro_b60_is_ready_on_its_own_hardware(tmp_path, vram):
    from helpers.recipes.matching import best_target, device_of

    machine, target = intel_host(tmp_path, vram=vram), load_target("arc_pro_b60")
    fit = best_target(device_of(machine))
    assert (fit.target, fit.exact) == ("arc_pro_b60", True), fit.why
    report = preflight.check(target, check_parameters(target), machine=machine)
    assert report.passed, report.text()
    closed = replace(machine, devices={"/dev/dri/renderD128": False})
    assert [check.name for check in preflight.check(target, machine=closed).failed] == ["Device files"]
    assert "GPU" in [check.name for check in preflight.check("h200", machine=machine).failed]


NEAREST = [
    ("NVIDIA GeForce RTX 4080", "8.9", 16.0, "x86_64"),
    ("NVIDIA GH200 144G HBM3e", "9.0", 140.0, "aarch64"),
    ("NVIDIA GB300", "10.3", 277.0, "aarch64"),
    ("NVIDIA GeForce RTX 3090", "8.6", 24.0, "x86_64"),
]


@pytest.mark.parametrize(("name", "capability", "memory", "architecture"), NEAREST)
def test_the_nearest_recipe_is_no_dead_end(name, capability, memory, architecture):
    """What start_here names either starts here, or both say how to begin a recipe."""
    from helpers.recipes.matching import best_target, device_of

    card = replace(H200, name=name, compute_capability=capability, memory_gib=memory, free_gib=memory)
    machine = replace(HOST, gpus=[card] * 8, architecture=architecture)
    fit = best_target(device_of(machine))
    assert not fit.exact
    target = load_target(fit.target)
    given = {"model": "gpt-oss-20b", "concurrency": [1], "profile": "latency"}
    report = preflight.check(target, check_parameters(target, given), machine=machine)
    found = {check.name: check for check in report.findings}
    assert found["GPU model"].mark == "!" or capability == "8.6"
    if target.match.compute_capability == capability:
        assert "it runs here" in fit.why and found["GPU"].ok
        assert {check.name for check in report.failed} <= {"Memory budget", "GPU memory free"}, report.text()
    else:
        way = f"cookbook new-target NAME --like {fit.target}"
        assert found["GPU"].mark == "✗" and way in found["GPU"].fix and way in fit.why


def test_variables_are_compared_with_the_installed_vllm(tmp_path):
    from helpers.machine.stack.variables import unknown_variables

    (tmp_path / "vllm").mkdir()
    assert unknown_variables(["VLLM_FOO"], tmp_path) is None
    source = 'environment_variables: dict = {\n    "VLLM_PORT": lambda: 1,\n    # "VLLM_FOO": gone\n}\n'
    (tmp_path / "vllm" / "envs.py").write_text(source)
    assert unknown_variables(["VLLM_PORT", "VLLM_FOO"], tmp_path) == ["VLLM_FOO"]


@pytest.mark.parametrize("name", ["VLLM_FOO", "VLLM_USE_TRTLLM_ATTENTION"])
@pytest.mark.real
def test_a_variable_that_would_end_the_start_stops_preflight(interpreter, cli_process, name):
    done = cli_process("preflight", "cpu", "-p", "port", "0", env={name: "1", "VLLM_LOGGING_LEVEL": "INFO"})
    assert done.returncode == 1 and f"{name}: not known to vLLM, ends the start" in done.stdout, done.stdout
    assert f"unset {name}" in done.stdout


def test_a_folder_that_is_no_model_is_not_ready(cli, tmp_path):
    done = cli("preflight", "cpu", "-p", "port", "0", "-p", "weights", str(tmp_path))
    assert done.returncode == 1 and "✗ Weights folder" in done.stdout and "config.json is missing" in done.stdout


def test_packages_are_read_without_importing(tmp_path):
    for name in ("triton-3.7.1", "pytorch_triton-3.4.0", "oss_harmony-0.0.11"):
        (tmp_path / f"{name}.dist-info").mkdir()
    assert software.packages(tmp_path) == {"oss-harmony": "0.0.11", "pytorch-triton": "3.4.0", "triton": "3.7.1"}
    assert software.harmony(tmp_path) == ""


def test_leases_living_and_stale(tmp_path):
    start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    for name, ticks in (("mine", start), ("gone", start + 1)):
        lease = {"server": {"pid": os.getpid(), "start": ticks}, "port": 8123, "model": "m"}
        (tmp_path / f"{name}.json").write_text(json.dumps(lease))
    (tmp_path / "torn.json").write_text('{"server"')
    assert software.leases(tmp_path) == ({8123: "m"}, ["gone", "torn"])


def test_vocabulary_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("TIKTOKEN_ENCODINGS_BASE", raising=False)
    assert software.vocabulary() is None
    monkeypatch.setenv("TIKTOKEN_ENCODINGS_BASE", str(tmp_path))
    assert "cannot be read" in software.vocabulary()
    (tmp_path / "o200k_base.tiktoken").write_text("<html>sign in</html>")
    assert "sha256" in software.vocabulary()


def test_whole_downloads_only(tmp_path):
    for name, unfinished in (("whole", False), ("torn", True)):
        folder = tmp_path / f"models--openai--{name}"
        (folder / "snapshots" / "1").mkdir(parents=True)
        (folder / "snapshots" / "1" / "model.safetensors").write_text("x")
        (folder / "blobs").mkdir()
        if unfinished:
            (folder / "blobs" / "abc.incomplete").write_text("x")
    assert software.cached(tmp_path) == ["openai/whole"]


def test_dead_variables_are_really_unknown_to_the_stack():
    envs = list((software.STACKS).glob("cpu/lib/python*/site-packages/vllm/envs.py"))
    if not envs:
        pytest.skip("the CPU stack is not installed")
    text = envs[0].read_text()
    assert [name for name in DEAD_VARIABLES if f'"{name}"' in text] == []


def test_command():
    ready = CliRunner().invoke(application(), ["preflight", "cpu", "--json", "-p", "port", "0"])
    answer = json.loads(ready.stdout)
    assert answer["target"] == "cpu" and len(answer["checks"]) == len(CHECKS) and ready.exit_code == (not answer["ok"])
    outcome = CliRunner().invoke(application(), ["preflight", "nonesuch"])
    assert isinstance(outcome.exception, CookbookError)


def test_nvidia_cards_are_read_through_the_library(monkeypatch):
    """Without a GPU here the library is stood in for; every name used must exist in the real one."""
    import re
    import sys
    from types import SimpleNamespace

    import pynvml

    used = set(re.findall(r"\bnvml\.(\w+)", Path(gpus.__file__).read_text()))
    assert len(used) > 10 and [name for name in used if not hasattr(pynvml, name)] == []

    class NVMLError(Exception):
        pass

    def link(_, number):
        if number >= 2:
            raise NVMLError("no such link")
        return 1

    fake = SimpleNamespace(
        NVMLError=NVMLError,
        NVML_DEVICE_MIG_ENABLE=1,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlSystemGetCudaDriverVersion_v2=lambda: 13000,
        nvmlSystemGetDriverVersion=lambda: b"580.65.06",
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=140 << 30, free=12 << 30),
        nvmlDeviceGetCudaComputeCapability=lambda _: (9, 0),
        nvmlDeviceGetMigMode=lambda _: [0, 0],
        nvmlDeviceGetComputeRunningProcesses=lambda _: [SimpleNamespace(pid=os.getpid(), usedGpuMemory=128 << 30)],
        nvmlDeviceGetNvLinkState=link,
        nvmlDeviceGetName=lambda _: "NVIDIA H200",
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    vendor, cards, driver, cuda, error = gpus.nvidia()
    assert (vendor, driver, cuda, error) == ("nvidia", "580.65.06", "13.0", "")
    card = cards[0]
    assert (card.name, card.compute_capability, card.memory_gib, card.free_gib, card.mig, card.links) == (
        "NVIDIA H200",
        "9.0",
        140,
        12,
        False,
        2,
    )
    assert card.holders[0].pid == os.getpid() and card.holders[0].memory_gib == 128

    def refuse(_):
        raise NVMLError("not supported")

    fake.nvmlDeviceGetMemoryInfo = refuse  # as on GB10, whose memory is the host's
    assert gpus.nvidia()[1][0].memory_gib == pytest.approx(host.memory(Path("/nonexistent"))[0], rel=0.01)


def test_the_table_leaves_out_what_says_nothing():
    """A fact that does not apply and was not seen, and sizes that would read 0.0."""
    cpu = replace(HOST, vendor="cpu", gpus=[], driver=None)
    report = preflight.check("cpu", machine=cpu)
    silent = [check.name for check in report.findings if check.ok is None and check.seen == "–"]
    assert "MIG" in silent and {"MIG"} <= {check["name"] for check in report.to_dict()["checks"]}
    for shown in (report.text(), report._repr_html_()):
        assert not any(f" {name} " in shown or f">{name}<" in shown for name in silent)
        assert "needs 0.0" not in shown and "at once 0.0" not in shown and " MiB" in shown
    assert "MIG" in preflight.check("h200", machine=HOST).text()
