"""A bundle for a host without network: what is packed, in which parts, and what a new place makes of it."""

import gzip
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from helpers.errors import CookbookError, UsageError
from helpers.machine.stack import ServingStack
from helpers.paths import RECIPES, ROOT
from maintain.delivery import pack
from maintain.delivery.unbundle import MANIFEST, BundleError, unbundle

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of one file with two environments of a few bytes."""
    root = tmp_path / "here"
    for name in (".venv", ".stacks/cpu"):
        site = root / name / "lib" / f"python{VERSION}" / "site-packages"
        (root / name / "bin").mkdir(parents=True)
        site.mkdir(parents=True)
        (root / name / "pyvenv.cfg").write_text("home = /nowhere/bin\nversion = 3\ncommand = x\n")
        (root / name / "bin/python").symlink_to("/nowhere/bin/python")
        (root / name / "bin/python3").symlink_to("python")
        (root / name / "bin/tool").write_text(f"#!{root / name}/bin/python\nprint('here')\n")
        (root / name / "bin/tool").chmod(0o755)
        (site / "own.pth").write_text(f"{root}\n")
        (site / "data.bin").write_bytes(os.urandom(200_000))
    (root / "README.md").write_text("hello\n")
    (root / ".venv/.ready").write_text(pack.bootstrap.fingerprint())
    monkeypatch.setattr(pack.paths, "ROOT", root)
    monkeypatch.setattr(pack.paths, "CACHE", root / ".cache")
    monkeypatch.setattr(pack, "committed", lambda: ["README.md"])
    monkeypatch.setattr(pack, "commit", lambda: "0" * 40)
    monkeypatch.setattr("helpers.tools.sandbox.wasm.HOME", root / "absent")
    monkeypatch.setattr(ServingStack, "folder", property(lambda self: root / ".stacks" / self.name))
    monkeypatch.setattr(ServingStack, "ready", lambda self: True)
    return root


def packed(small: Path, out: Path, **options: object) -> Path:
    pack.bundle("cpu", out, **{"report": lambda line: None} | options)
    return out


def test_what_is_not_here_to_be_packed_is_said(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    packed(small, tmp_path / "without", report=lines.append)
    assert [line.startswith("not packed: the") for line in lines[:2]] == [True, True] and "sandbox" in lines[1]
    sandbox, model = small / ".stacks/wasm", small / ".cache/models/gpt-oss-nano-x"
    for folder, file in ((sandbox, "deno"), (model, "config.json")):
        folder.mkdir(parents=True)
        (folder / file).write_text("{}")
    monkeypatch.setattr("helpers.tools.sandbox.wasm.HOME", sandbox)
    lines.clear()
    there = unbundle(packed(small, tmp_path / "with", report=lines.append), tmp_path / "there", report=lines.append)
    assert not [line for line in lines if "not packed" in line]
    assert (there / ".stacks/wasm/deno").exists() and (there / ".cache/models/gpt-oss-nano-x/config.json").exists()


def test_a_bundle_is_unpacked_elsewhere_and_runs_there(small: Path, tmp_path: Path) -> None:
    parts = packed(small, tmp_path / "parts", part_mb=1)
    there = unbundle(parts, tmp_path / "there", report=lambda line: None)
    assert (there / "README.md").read_text() == "hello\n"
    for name in (".venv", ".stacks/cpu"):
        assert (there / name / "bin/python").resolve() == Path(sys.executable).resolve()
        assert (there / name / "bin/python3").readlink() == Path("python")
        assert (there / name / "bin/tool").read_text().startswith(f"#!{there / name}/bin/python\n")
        assert os.access(there / name / "bin/tool", os.X_OK)
        settings = (there / name / "pyvenv.cfg").read_text()
        assert "/nowhere" not in settings and "command" not in settings and settings.startswith("home = /")
        site = there / name / "lib" / f"python{VERSION}" / "site-packages"
        assert (site / "own.pth").read_text() == f"{there}\n"
        origin = small / name / "lib" / f"python{VERSION}" / "site-packages"
        assert (site / "data.bin").read_bytes() == (origin / "data.bin").read_bytes()


def test_the_page_tells_the_sizes_that_were_packed() -> None:
    kept = json.loads((RECIPES / "checks/bundle-h100.json").read_text())
    size, parts = sum(part["bytes"] for part in kept["parts"]), len(kept["parts"])
    told = f"(`--arch {kept['arch']}`, vLLM {kept['vllm']}, no weights) a bundle is {parts} parts of {size / 1e9:.1f} GB together"
    page = " ".join((ROOT / "docs/install.md").read_text().split())
    assert f"{told}, and {kept['unpacked_bytes'] / 1e9:.1f} GB unpacked" in page
    assert f"took {kept['packing_s'] / 60:.0f} minutes" in page and kept["weights"] == ""


def test_parts_have_the_size_asked_for_and_are_checked_first(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack.Splitter, "__init__", smaller(pack.Splitter.__init__))
    parts = packed(small, tmp_path / "parts")
    manifest = json.loads((parts / MANIFEST).read_text())
    sizes = [(parts / part["name"]).stat().st_size for part in manifest["parts"]]
    assert len(sizes) > 2 and set(sizes[:-1]) == {100_000} and sizes == [part["bytes"] for part in manifest["parts"]]
    second = parts / manifest["parts"][1]["name"]
    whole = second.read_bytes()
    second.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BundleError, match="part001 is damaged"):
        unbundle(parts, tmp_path / "there")
    second.unlink()
    with pytest.raises(BundleError, match="part001 is missing"):
        unbundle(parts, tmp_path / "there")
    assert not (tmp_path / "there").exists(), "nothing was unpacked"
    second.write_bytes(whole)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("x")
    with pytest.raises(BundleError, match="is not empty"):
        unbundle(parts, tmp_path / "full")
    (parts / MANIFEST).write_text(json.dumps(manifest | {"python": {".venv": "3.99"}}))
    with pytest.raises(BundleError, match=r"needs Python 3\.99"):
        unbundle(parts, tmp_path / "there")
    (parts / MANIFEST).write_text("{}")
    with pytest.raises(BundleError, match=r"bundle\.json is missing or damaged"):
        unbundle(parts, tmp_path / "there")


def smaller(init):
    return lambda self, folder, size: init(self, folder, 100_000)


def test_what_leads_out_of_the_folder_is_not_unpacked(small: Path, tmp_path: Path) -> None:
    parts = packed(small, tmp_path / "parts")
    evil = parts / "part000"
    with gzip.open(evil, "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))
    manifest = json.loads((parts / MANIFEST).read_text())
    manifest["parts"] = [{"name": "part000", "sha256": pack.hashlib.sha256(evil.read_bytes()).hexdigest()}]
    (parts / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises((BundleError, tarfile.TarError)):
        unbundle(parts, tmp_path / "there")
    assert not (tmp_path / "outside").exists()


def test_wrong_wishes_are_one_clear_line(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="write it as sm_90"):
        packed(small, tmp_path / "a", arch="hopper")
    with pytest.raises(UsageError, match="is no checkpoint"):
        packed(small, tmp_path / "a", weights=tmp_path)
    with pytest.raises(UsageError, match="--part-mb"):
        packed(small, tmp_path / "a", part_mb=0)
    (small / ".venv/.ready").write_text("of an older lock")
    with pytest.raises(CookbookError, match="make setup"):
        packed(small, tmp_path / "a")
    monkeypatch.setattr(ServingStack, "ready", lambda self: False)
    with pytest.raises(CookbookError, match="cookbook install cpu"):
        packed(small, tmp_path / "a")
    assert not (tmp_path / "a").exists() and pack.architecture("sm_120") == 120


def test_libraries_of_the_stack_are_cut_down_and_nothing_else(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (".venv/lib/liba.so", ".stacks/cpu/lib/libb.so.12", ".stacks/cpu/lib/text.so.md"):
        (small / name).write_bytes(b"code")
    monkeypatch.setattr(pack.fatbin, "trim", lambda path, sm: path.write_bytes(f"s{sm}.".encode()))
    there = unbundle(packed(small, tmp_path / "parts", arch="sm_90"), tmp_path / "there", report=lambda line: None)
    assert (there / ".stacks/cpu/lib/libb.so.12").read_bytes() == b"s90."
    assert (there / ".venv/lib/liba.so").read_bytes() == (there / ".stacks/cpu/lib/text.so.md").read_bytes() == b"code"
    assert (small / ".stacks/cpu/lib/libb.so.12").read_bytes() == b"code", "the stack here stays whole"


@pytest.mark.real
def test_the_script_beside_the_parts_needs_nothing_but_python(small: Path, tmp_path: Path) -> None:
    parts = packed(small, tmp_path / "parts")
    python = os.path.realpath(sys.executable)
    words = [python, "-I", "-S", str(parts / "unbundle.py"), str(tmp_path / "there")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0 and f"cd {tmp_path / 'there'} && make run TARGET=cpu" in done.stdout, done.stderr
    told = subprocess.run([str(tmp_path / "there/.venv/bin/tool")], capture_output=True, text=True, timeout=60)
    assert told.stdout == "here\n", told.stderr
    again = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert again.returncode == 1 and again.stderr.count("\n") == 1 and "is not empty" in again.stderr
