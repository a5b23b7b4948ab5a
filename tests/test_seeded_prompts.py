"""Seeded requests on a CPU: the recipe's remedy, the doctor's word on a server without it, and the probe that watches vLLM."""

import asyncio
import io
import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.drop_seeds import DropSeeds
from benchmarks.seeded_prompts import LIMIT, argv_of
from helpers.doctor import diagnose
from helpers.errors import CookbookError
from helpers.paths import ROOT
from helpers.recipes import check_parameters, load_model, load_target
from helpers.recipes.command import serve_command
from maintain.limits.asked import probe

START = "(EngineCore pid=7) INFO 11-26 10:00:01 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='m'\n"
READY = START + "INFO:     Started server process [1]\nINFO:     Application startup complete.\n"
SEQUENCES = 128  # vLLM 0.32.0 engine/arg_utils.py: the most requests of a CPU server per worker


def served() -> list[dict]:
    """Parameters of every model, size and profile of the CPU recipe."""
    target = load_target("cpu")
    return [
        {
            "model": model,
            "tensor_parallel_size": size,
            "profile": profile,
            "weights": "nano" if "nano" in model else "hub",
        }
        for model, offered in target.models.items()
        for size in offered.tensor_parallel_size
        for profile in target.serve.profiles
    ]


@pytest.mark.parametrize("given", served(), ids=lambda given: " ".join(map(str, given.values())))
def test_every_cpu_server_takes_prompts_whole(given: dict) -> None:
    """No chunks, and a step that holds the longest prompt beside a token of every other request."""
    target = load_target("cpu")
    parameters = check_parameters(target, given)
    argv = serve_command(target, load_model(given["model"]), parameters, "m", 8000).argv
    value = lambda flag: int(argv[argv.index(flag) + 1])  # noqa: E731
    assert "--no-enable-chunked-prefill" in argv
    least = value("--max-model-len") + SEQUENCES * given["tensor_parallel_size"]
    assert value("--max-num-batched-tokens") >= least


def test_the_benchmark_measures_the_recipes_own_words() -> None:
    """The variant named after the recipe is the recipe, the bare one is without the limit."""
    target = load_target("cpu")
    own = serve_command(target, load_model("gpt-oss-nano"), check_parameters(target, {}), "m", 8000).argv[1:]
    made = {
        name: argv_of(Path("python"), Path("m"), 8000, name, "latency")[0][3:]
        for name in ("whole prompts, the recipe's", "as vLLM comes")
    }
    assert sorted(made["whole prompts, the recipe's"]) == sorted(own)
    avoided = next(limit.avoid for limit in target.known_limits if limit.id == LIMIT)
    words = {word for flag, setting in avoided.args.items() for word in setting.words(flag)}
    assert set(own) - set(made["as vLLM comes"]) == words


WORKER = "(Worker pid=9) ERROR 11-26 10:00:09 [multiproc_executor.py:1063] "
OTHERS = {  # lines of logs in which no engine ended over a seed
    "a request's text": 'INFO:     127.0.0.1:1 - "POST /v1/completions?q=CPU Generator does not use offset" 200 OK',
    "another generator's trouble": WORKER + "RuntimeError: offset must be a multiple of 4",
    "the words without an exception": WORKER.replace("ERROR", "WARNING") + "read: CPU Generator does not use offset",
}


@pytest.mark.parametrize("line", OTHERS.values(), ids=OTHERS)
def test_other_logs_are_not_taken_for_it(line: str) -> None:
    assert "S26" not in diagnose(io.BytesIO(f"{READY}{line}\n".encode())).ids
    its = WORKER + "RuntimeError: CPU Generator does not use offset"
    assert diagnose(io.BytesIO(f"{READY}{line}\n{its}\n".encode())).ids == ["S26"]


def test_the_remedy_of_the_doctor_is_the_recipes() -> None:
    found = diagnose(ROOT / "tests" / "fixtures" / "doctor" / "S26.log").causes[0]
    assert found.remedy.diff.splitlines()[-1] == "+--no-enable-chunked-prefill"


@pytest.mark.full
def test_the_installed_vllm_still_needs_the_limit(interpreter: Path, cli_process) -> None:
    """Where this fails with "no longer needed", the limit, its flags and this file can go."""
    done = cli_process("check", "--limits", "--target", "cpu", timeout=600)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.startswith(f"cpu: {LIMIT}: vLLM 0.") and "still needed (RuntimeError: CPU Generator" in done.stdout
    )
    assert done.stdout.count("\n") == 2, "two limits of this target have a probe"


PLANTED = """
import json, torch
from maintain.limits import rewind
from vllm.v1.worker.cpu_model_runner import CPUModelRunner as R
from vllm.v1.worker.gpu_model_runner import GPUModelRunner as G

class Mild:
    def __init__(self, device=None): pass
    def manual_seed(self, seed): return self
    def get_offset(self): return 4
    def set_offset(self, offset): pass

said = {}
real, torch.Generator = torch.Generator, Mild
said["another generator"] = rewind.state()[0]
torch.Generator = real
whole = G._bookkeeping_sync
G._bookkeeping_sync = lambda self: None
said["another signature"] = rewind.state()[0]
del G._bookkeeping_sync
said["no such method"] = rewind.state()[0]
G._bookkeeping_sync = whole
said["as it is"] = rewind.state()[0]
print(json.dumps(said))
"""


@pytest.mark.real
def test_the_probe_tells_a_later_vllm_apart(interpreter: Path) -> None:
    """One that can set a generator back, and two whose code is another."""
    words = [str(interpreter), "-c", PLANTED]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "another generator": "goes on",
        "another signature": "unknown",
        "no such method": "unknown",
        "as it is": "ends",
    }


@pytest.mark.real
def test_a_probe_that_cannot_run_is_one_line(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'ModuleNotFoundError: No module named vllm' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(CookbookError, match="because ModuleNotFoundError: No module named vllm; see that"):
        probe(python, "cpu", LIMIT, "maintain.limits.rewind")


def test_the_middleware_that_was_measured_drops_the_seed_and_nothing_else() -> None:
    got: list[bytes] = []

    async def app(scope, receive, send) -> None:
        got.append((await receive())["body"])
        assert dict(scope["headers"])[b"content-length"] == str(len(got[-1])).encode()

    async def ask(body: bytes) -> None:
        parts = [{"body": body[:5], "more_body": True}, {"body": body[5:], "more_body": False}]

        async def receive() -> dict:
            return parts.pop(0)

        scope = {"type": "http", "method": "POST", "headers": [(b"content-length", b"0")]}
        await DropSeeds(app)(scope, receive, None)

    for body in (b'{"seed": 3, "n": 1}', b'{"n": 1}', b"no JSON at all", b"[3]"):
        asyncio.run(ask(body))
    assert got == [b'{"n": 1}', b'{"n": 1}', b"no JSON at all", b"[3]"]
