"""Stacks from a wheel index: the right index wins, and a build for other hardware is not taken for one."""

import http.server
import threading
import zipfile
from functools import partial
from pathlib import Path

import pytest

from helpers.errors import CookbookError
from helpers.machine.stack import ServingStack, ensure, environment, interpreter
from helpers.machine.stack.environment import arguments
from helpers.recipes import load_target, stacks, target_names
from helpers.recipes.stacks import IndexedStack, indexed_stacks


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    """A wheel with these files, in a simple index under `folder`."""
    page = folder / name
    page.mkdir(parents=True, exist_ok=True)
    file = f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(page / file, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    (page / "index.html").write_text(f'<a href="{file}">{file}</a>')


@pytest.fixture
def index(tmp_path: Path):
    """A wheel index on loopback: vllm 0.32.0 that brings its torch along."""
    folder = tmp_path / "index"
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *args: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def rocm(index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """recipes/stacks.yaml with that index and the Python of this test."""
    import sys

    _, url = index
    text = stacks.FILE.read_text().replace("https://wheels.vllm.ai/rocm/", url)
    text = text.replace('"3.12"', f'"{sys.version_info[0]}.{sys.version_info[1]}"').replace(
        "disk_gib: 30", "disk_gib: 0.1"
    )
    path = tmp_path / "stacks.yaml"
    path.write_text(text)
    monkeypatch.setattr(stacks, "FILE", path)
    monkeypatch.setattr(environment, "INDEXED", path)
    monkeypatch.setattr(environment, "STACKS", tmp_path / "stacks")
    return path


def torch(hip: str) -> dict[str, str]:
    return {
        "torch/__init__.py": "from . import version\n",
        "torch/version.py": f"hip = {hip}\n",
        "vllm/__init__.py": "",
    }


def test_every_gpu_stack_has_a_lock_or_an_index():
    for name in target_names():
        install = load_target(name).stack.install
        assert ServingStack(install).lock.exists(), install
        if install in indexed_stacks():
            assert indexed_stacks()[install].requirement == f"vllm=={load_target(name).stack.vllm}"


@pytest.mark.real
def test_a_stack_is_installed_from_its_index(index, rocm: Path):
    wheel(index[0], "vllm", "0.32.0", torch('"7.2"'))
    python = ensure("rocm", report=lambda line: None)
    assert python == interpreter("rocm") and ServingStack("rocm").ready()
    rocm.write_text(rocm.read_text() + "\n")
    assert not ServingStack("rocm").ready()  # another index file, another stack


@pytest.mark.real
def test_a_build_for_other_hardware_is_not_taken(index, rocm: Path):
    wheel(index[0], "vllm", "0.32.0", torch("None"))
    with pytest.raises(CookbookError, match=r"no build for rocm because torch\.version\.hip is not set"):
        ensure("rocm", report=lambda line: None)
    assert not ServingStack("rocm").ready()


@pytest.mark.real
def test_a_missing_python_is_one_line(rocm: Path):
    import re

    rocm.write_text(re.sub(r'python: "3\.\d+"', 'python: "3.99"', rocm.read_text()))
    with pytest.raises(CookbookError, match=r"needs Python 3\.99 because its wheels exist for no other"):
        ensure("rocm", report=lambda line: None)


def test_the_index_goes_before_the_default_one():
    stack = IndexedStack.model_validate(indexed_stacks()["rocm"].model_dump())
    assert arguments(stack) == [
        "vllm==0.32.0",
        "--index-strategy",
        "first-index",
        "--extra-index-url",
        "https://wheels.vllm.ai/rocm/",
    ]


def test_a_long_line_of_uv_keeps_its_end() -> None:
    """Long paths come first, what went wrong last."""
    line = f"failed to copy file from {'/deep' * 60} to {'/deeper' * 60}: No space left on device (os error 28)"
    told = environment._shortened(line, 200)
    assert told.startswith("failed to copy file") and told.endswith("No space left on device (os error 28)")
    assert len(told) < 210 and environment._shortened("short", 200) == "short"
