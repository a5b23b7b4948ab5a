"""Facts of the software: tools, the hub, the Harmony vocabulary, packages of the stacks (never imported), leases."""

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

from helpers.paths import STACKS
from helpers.processes import Identity, host

# o200k_base.tiktoken as published; 3,613,922 bytes (openai/harmony, tiktoken_ext)
VOCABULARY_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
HUB_TIMEOUT = 5.0  # seconds


def uv() -> str:
    """Where uv is ("" when it is not)."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv") or ""


def docker() -> str:
    """usable, the reason why not, or "" when docker is not installed."""
    if not shutil.which("docker"):
        return ""
    path = os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or "/var/run/docker.sock"
    if not path.startswith("/"):
        return "usable"
    if not os.path.exists(path):
        return "its daemon does not run"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(0.5)
            probe.connect(path)
        return "usable"
    except PermissionError:
        return "this user may not open its socket (group docker)"
    except OSError as error:
        return f"its daemon does not answer ({error.strerror or error})"


def hub_cache() -> Path:
    """Where hub downloads go."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def token() -> bool:
    """Whether a hub token is set, in the environment or by `hf auth login`."""
    return bool(os.environ.get("HF_TOKEN")) or (hub_cache().parent / "token").is_file()


def cached(hub: Path) -> list[str]:
    """Repositories whose newest snapshot has weights and no unfinished download beside them."""
    found = []
    for folder in sorted(hub.glob("models--*")):
        unfinished = any(folder.glob("blobs/*.incomplete"))
        if not unfinished and any(path.exists() for path in folder.glob("snapshots/*/*.safetensors")):
            found.append(folder.name.removeprefix("models--").replace("--", "/"))
    return found


def ask_hub() -> tuple[float | None, str]:
    """(clock difference in seconds, "" or why the hub cannot be reached)."""
    import httpx

    address = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return None, "HF_HUB_OFFLINE=1 is set"
    try:
        reply = httpx.head(address, timeout=HUB_TIMEOUT)
        now = time.time()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return None, f"{type(error).__name__}: {error}"
    skew = None
    with contextlib.suppress(KeyError, TypeError, ValueError):
        skew = now - parsedate_to_datetime(reply.headers["date"]).timestamp()
    return skew, "" if reply.status_code < 500 else f"it answers {reply.status_code}"


def vocabulary() -> str | None:
    """None: TIKTOKEN_ENCODINGS_BASE is not set; "": its vocabulary is sound; else what is wrong with it."""
    base = os.environ.get("TIKTOKEN_ENCODINGS_BASE")
    if not base:
        return None
    path = Path(base) / "o200k_base.tiktoken"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"o200k_base.tiktoken cannot be read there ({error.strerror})"
    return "" if found == VOCABULARY_SHA256 else f"sha256 {found[:8]}, not {VOCABULARY_SHA256[:8]}"


def stacks() -> dict[str, Path]:
    """The site-packages folder of every installed stack, and of the environment that `install=existing` takes."""
    found = {}
    for site in sorted(STACKS.glob("*/lib/python*/site-packages")):
        found[site.parents[2].name] = site
    for site in sorted(existing_python().parent.parent.glob("lib/python*/site-packages")):
        if (site / "vllm").is_dir():
            found["existing"] = site
    return found


def existing_python() -> Path:
    """The Python of `install=existing`: COOKBOOK_PYTHON's, else this one."""
    return Path(os.environ.get("COOKBOOK_PYTHON") or sys.executable).expanduser()


def packages(site: Path) -> dict[str, str]:
    """Distributions and versions, from the names of the metadata folders."""
    found = {}
    for folder in site.glob("*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
        found[name.lower().replace("_", "-")] = version
    return dict(sorted(found.items()))


def nvcc() -> str:
    """The version of the CUDA toolkit that FlashInfer would compile with ("" without one), read from its own files."""
    named, on_path = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"), shutil.which("nvcc")
    home = Path(named or (Path(on_path).resolve().parents[1] if on_path else "/usr/local/cuda"))
    if not (home / "bin" / "nvcc").exists():
        return ""
    with contextlib.suppress(OSError):
        if found := re.search(r"#define CUDA_VERSION (\d+)", (home / "include" / "cuda.h").read_text()):
            return f"{int(found[1]) // 1000}.{int(found[1]) % 1000 // 10}"
    return "of an unknown version"


def compiler() -> str:
    """Where the C compiler is that Triton would take ("" without one)."""
    names = filter(None, (os.environ.get("CC"), "gcc", "clang", "cc"))
    return next(filter(None, map(shutil.which, names)), "")


def headers(site: Path) -> bool:
    """Whether the Python of an environment has the header files that Triton compiles against."""
    base = Path(os.path.realpath(site.parents[2] / "bin" / "python3")).parents[1]
    return any((base / "include" / site.parent.name).glob("Python.h"))


def torch_pin(site: Path) -> str:
    """The release of torch that the vLLM of an environment asks for, "" where it names none."""
    for metadata in site.glob("vllm*.dist-info/METADATA"):
        with contextlib.suppress(OSError):
            text = metadata.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
            if pinned := re.search(r"^Requires-Dist: torch *\(?==([\d.]+)", text, re.M):
                return pinned[1]
    return ""


def harmony(site: Path) -> str:
    """The first eight digits of the sha256 of openai_harmony's compiled module ("" when there is none)."""
    for module in sorted((site / "openai_harmony").glob("openai_harmony*.so")):
        with contextlib.suppress(OSError):
            return hashlib.sha256(module.read_bytes()).hexdigest()[:8]
    return ""


def leases(folder: Path) -> tuple[dict[int, str], list[str]]:
    """(port: model of the cookbook's living servers, names of leases whose server is gone), of this host."""
    living, stale = {}, []
    for path in sorted(folder.glob("*.json")):
        try:
            lease = json.loads(path.read_text())
            if lease.get("host", host()) != host():
                continue
            if Identity(**lease["server"]).alive():
                living[int(lease["port"])] = str(lease["model"])
                continue
        except (OSError, ValueError, KeyError, TypeError):
            pass
        stale.append(path.stem)
    return living, stale


def loads(library: str) -> bool:
    """Whether the system has a shared library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
