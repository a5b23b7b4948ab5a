"""Weights: only what vLLM needs is fetched, interruptions are resumed, every failure is one line, nothing half is served."""

import json
import os
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hub_server import Hub

from helpers.errors import CookbookError
from helpers.machine.weights import check_checkpoint
from helpers.machine.weights.hub import DownloadPlan
from helpers.paths import ROOT
from helpers.recipes import load_model
from helpers.server.weights import build_nano

MODEL = load_model("gpt-oss-20b")
SHARDS = ("model-00000-of-00001.safetensors", "model-00001-of-00001.safetensors")
SHARD_BYTES = 6 * 2**20  # large enough for several chunks of a transfer


def shard(path: Path, names: list[str], size: int) -> None:
    """A safetensors file with these tensors, `size` bytes each."""
    header = {
        name: {"dtype": "U8", "shape": [size], "data_offsets": [at * size, (at + 1) * size]}
        for at, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + os.urandom(size * len(names)))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository in the layout of openai/gpt-oss-20b: shards by index, and the copies that vLLM does not need."""
    folder, geometry = tmp_path / "repository", MODEL.geometry
    (folder / "original").mkdir(parents=True)
    (folder / "metal").mkdir()
    config = {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "num_hidden_layers": geometry.layers,
        "hidden_size": geometry.hidden_size,
        "intermediate_size": geometry.intermediate_size,
        "num_local_experts": geometry.experts,
        "num_attention_heads": geometry.attention_heads,
        "num_key_value_heads": geometry.kv_heads,
        "vocab_size": geometry.vocab_size,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text("{}")
    (folder / "tokenizer.json").write_text('{"model": {}}')
    (folder / "tokenizer_config.json").write_text("{}")
    shard(folder / SHARDS[0], ["a", "b"], SHARD_BYTES // 2)
    shard(folder / SHARDS[1], ["c"], 1000)
    weight_map = {"a": SHARDS[0], "b": SHARDS[0], "c": SHARDS[1]}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    shard(folder / "original" / "model.safetensors", ["o"], SHARD_BYTES)
    (folder / "metal" / "model.bin").write_bytes(os.urandom(SHARD_BYTES))
    return folder


@pytest.fixture
def hub(repository: Path):
    """The hub with that repository."""
    hub = Hub(MODEL.hub_id, repository)
    yield hub
    hub.close()


def fetch(hub: Hub | None, home: Path, **env: str) -> subprocess.CompletedProcess:
    """`cookbook fetch gpt-oss-20b` in a process of its own, as a user would run it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    clean |= {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_ETAG_TIMEOUT": "3", **env}
    if hub:
        clean["HF_ENDPOINT"] = hub.endpoint
    argv = [str(Path(sys.executable).parent / "cookbook"), "fetch", "gpt-oss-20b"]
    return subprocess.run(argv, capture_output=True, text=True, env=clean, timeout=120, cwd=ROOT)


def one_line(done: subprocess.CompletedProcess) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith("cookbook: ")]
    assert done.returncode == 1 and len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    return lines[0]


@pytest.mark.real
def test_only_what_vllm_needs_is_fetched_and_then_served_from_the_cache(hub: Hub, repository: Path, tmp_path: Path):
    done = fetch(hub, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1].split(": ", 1)[1].split(" (")[0])
    assert {path.name for path in folder.iterdir()} == {path.name for path in repository.iterdir() if path.is_file()}
    assert not any(name.startswith(("original/", "metal/")) for name in hub.fetched())
    assert (folder / SHARDS[0]).read_bytes() == (repository / SHARDS[0]).read_bytes()
    assert "without original/*, metal/*" in done.stdout
    before = len(hub.requests)
    again = fetch(hub, tmp_path / "home")
    assert again.returncode == 0 and len(hub.requests) == before  # not one request
    hub.close()
    offline = fetch(None, tmp_path / "home", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0 and offline.stdout == again.stdout


@pytest.mark.real
def test_a_transfer_cut_off_in_the_middle_is_resumed(repository: Path, tmp_path: Path):
    shard(repository / SHARDS[0], ["a", "b"], 18 * 2**20)  # the library writes pieces of 10 MB: cut in the second
    hub = Hub(MODEL.hub_id, repository, cut=SHARDS[0])
    done = fetch(hub, tmp_path / "home")
    ranges = [asked for method, path, asked in hub.requests if method == "GET" and path.endswith(SHARDS[0])]
    if done.returncode:  # the library gave up: one line, and the next call goes on
        assert "it goes on where it stopped" in one_line(done)
        done = fetch(hub, tmp_path / "home")
        ranges = [asked for method, path, asked in hub.requests if method == "GET" and path.endswith(SHARDS[0])]
    assert done.returncode == 0, done.stderr
    assert ranges[0] == "" and any(asked.startswith("bytes=") and asked != "bytes=0-" for asked in ranges[1:])
    folder = Path(done.stdout.splitlines()[-1].split(": ", 1)[1].split(" (")[0])
    assert (folder / SHARDS[0]).read_bytes() == (repository / SHARDS[0]).read_bytes()
    hub.close()


@pytest.mark.real
def test_a_killed_fetch_goes_on(repository: Path, tmp_path: Path):
    """What a killed process left in the cache is not taken for whole, and is completed."""
    hub = Hub(MODEL.hub_id, repository)
    assert fetch(hub, tmp_path / "home").returncode == 0
    blobs = next((tmp_path / "home" / "hub").glob("models--*/blobs"))
    largest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    largest.rename(largest.with_name(largest.name + ".incomplete"))
    os.truncate(largest.with_name(largest.name + ".incomplete"), SHARD_BYTES // 3)
    before = len(hub.requests)
    done = fetch(hub, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert any(path.endswith(SHARDS[0]) for method, path, _ in hub.requests[before:] if method == "GET")
    assert not any(path.endswith(SHARDS[1]) for method, path, _ in hub.requests[before:] if method == "GET")
    hub.close()


@pytest.mark.real
def test_an_unreachable_hub_a_missing_token_and_a_wrong_one_are_one_line_each(repository: Path, tmp_path: Path):
    line = one_line(fetch(None, tmp_path / "a", HF_ENDPOINT="http://127.0.0.1:9"))
    assert "was not fetched from http://127.0.0.1:9" in line and "check the network" in line
    closed = Hub(MODEL.hub_id, repository, token="secret-of-the-test")
    assert "no token was given (HTTP 401); set HF_TOKEN" in one_line(fetch(closed, tmp_path / "b"))
    wrong = one_line(fetch(closed, tmp_path / "c", HF_TOKEN="hf_wrong"))
    assert "the token in HF_TOKEN was refused" in wrong and "hf_wrong" not in wrong
    assert fetch(closed, tmp_path / "d", HF_TOKEN="secret-of-the-test").returncode == 0
    closed.close()
    empty = Hub("someone/else", repository)
    assert "the hub has no openai/gpt-oss-20b" in one_line(fetch(empty, tmp_path / "e"))
    empty.close()


def test_a_disk_too_small_is_refused_before_anything_is_fetched():
    with pytest.raises(CookbookError, match=r"12.8 GiB are to be fetched into /cache and 10.0 are free"):
        DownloadPlan(5, MODEL.weights.bytes, MODEL.weights.bytes, 10 * 2**30, Path("/cache")).require_room(
            "openai/gpt-oss-20b"
        )
    DownloadPlan(5, MODEL.weights.bytes, 0, 0, Path("/cache")).require_room("openai/gpt-oss-20b")


def test_a_disk_that_fills_up_on_the_way_is_one_line(tmp_path: Path):
    import errno

    from helpers.machine.weights.hub import _clear_errors

    with pytest.raises(CookbookError, match="no space is left in"), _clear_errors(MODEL, tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_whole_checkpoint_passes(repository: Path):
    facts = check_checkpoint(repository, MODEL)
    assert (facts.shards, facts.tensors) == (2, 3)


def broken_index(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["d"] = SHARDS[1]
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
        (
            lambda f: (f / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}'),
            "GptOssForCausalLM is needed",
        ),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda f: (f / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1"), "Git LFS pointer"),
        (lambda f: (f / SHARDS[0]).unlink(), f"{SHARDS[0]}: missing"),
        (lambda f: os.truncate(f / SHARDS[0], SHARD_BYTES // 2), f"{SHARDS[0]}: has "),
        (lambda f: os.truncate(f / SHARDS[1], 5), "not a safetensors file, or cut off"),
        (lambda f: (f / SHARDS[1]).write_bytes(b"\xff" * 4000), "not a safetensors file"),
        (broken_index, "1 tensors of the index are not in it (d, ...)"),
        (lambda f: (f / "model.safetensors.index.json").unlink(), "neither model.safetensors.index.json nor"),
    ],
)
def test_a_damaged_checkpoint_is_refused(repository: Path, damage, said: str):
    damage(repository)
    with pytest.raises(CookbookError) as raised:
        check_checkpoint(repository, MODEL)
    assert said in str(raised.value) and "is not a whole checkpoint" in str(raised.value)


def test_all_damage_is_reported_at_once(repository: Path):
    (repository / "tokenizer.json").unlink()
    (repository / SHARDS[0]).unlink()
    shutil.rmtree(repository / "original")
    with pytest.raises(CookbookError) as raised:
        check_checkpoint(repository, load_model("gpt-oss-120b"))
    line = str(raised.value)
    assert (
        "tokenizer.json is missing" in line
        and "missing" in line
        and "num_local_experts is 32, gpt-oss-120b has 128" in line
    )


@pytest.mark.real
def test_the_models_own_checkpoint_is_whole(checkpoint: Path):
    assert check_checkpoint(checkpoint, load_model("gpt-oss-nano")).tensors > 20


@pytest.mark.real
def test_two_runs_at_once_build_the_checkpoint_once(tmp_path: Path):
    """The second would move the folder aside that the first's server is reading."""
    slow = tmp_path / "builder"  # in the place of the stack's Python, to be quick about it
    slow.write_text('#!/bin/sh\necho built >> "$0.log"\nsleep 0.5\nmkdir "$4"\necho {} > "$4/config.json"\n')
    slow.chmod(0o755)
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: build_nano(slow, tmp_path / "models"), range(2))
    assert first == second and (first / "config.json").exists()
    assert Path(f"{slow}.log").read_text() == "built\n"


def split(source: Path, folder: Path) -> None:
    """gpt-oss-nano in the layout of the real repositories: two shards with an index, and the copies beside them."""
    shutil.copytree(source, folder)
    whole = folder / "model.safetensors"
    content = whole.read_bytes()
    whole.unlink()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    names = sorted(header, key=lambda name: header[name]["data_offsets"][0])
    middle, weight_map = len(names) // 2, {}
    for number, part in enumerate((names[:middle], names[middle:])):
        file, at, own, data = f"model-0000{number}-of-00002.safetensors", 0, {}, []
        for name in part:
            first, last = header[name]["data_offsets"]
            own[name] = {**header[name], "data_offsets": [at, at + last - first]}
            at, weight_map[name] = at + last - first, file
            data.append(content[start + first : start + last])
        text = json.dumps(own).encode()
        (folder / file).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for name in ("original", "metal"):
        (folder / name).mkdir()
        (folder / name / "model.bin").write_bytes(content[: 2**20])


@pytest.mark.full
def test_gpt_oss_nano_comes_from_a_hub_cut_off_in_the_middle(checkpoint: Path, tmp_path: Path, monkeypatch):
    """The real small model in the layout of the real repositories, through the same call as the large ones."""
    from helpers.machine.weights import cached, fetch
    from helpers.recipes.model import Download

    split(checkpoint, tmp_path / "repository")
    exclude = Download(bytes=1, repository_bytes=1, exclude=["original/*", "metal/*"], source="this test")
    model = load_model("gpt-oss-nano").model_copy(update={"hub_id": "openai/gpt-oss-nano", "download": exclude})
    large = max((tmp_path / "repository").glob("*.safetensors"), key=lambda path: path.stat().st_size)
    hub = Hub("openai/gpt-oss-nano", tmp_path / "repository", cut=large.name)
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    assert cached(model, tmp_path / "cache") is None
    try:
        folder = fetch(model, tmp_path / "cache", report=lambda line: None)
    except CookbookError as error:
        assert "it goes on where it stopped" in str(error)
        folder = fetch(model, tmp_path / "cache", report=lambda line: None)
    ranges = [asked for method, path, asked in hub.requests if method == "GET" and path.endswith(large.name)]
    assert any(asked.startswith("bytes=") and asked != "bytes=0-" for asked in ranges[1:])
    assert not any(name.startswith(("original/", "metal/")) for name in hub.fetched())
    hub.close()
    assert check_checkpoint(folder, model).tensors == check_checkpoint(checkpoint, model).tensors > 20
    assert cached(model, tmp_path / "cache") == folder
