"""The known limits of the recipes: where they were met, and the probes that say whether the installed vLLM has them still."""

import json
import subprocess
from pathlib import Path

import pytest

from helpers.errors import CookbookError
from helpers.paths import ROOT
from helpers.recipes import check_parameters, load_model, load_target, target_names
from helpers.recipes.command import serve_command
from maintain.limits import asked
from maintain.limits import probes as limits
from maintain.limits.rewind import ENDS, GOES_ON, UNKNOWN

EVERY = [(name, limit) for name in target_names() for limit in load_target(name).known_limits]


def test_every_probe_of_the_module_belongs_to_a_limit_and_back() -> None:
    with_probe = {limit.id for _, limit in EVERY if limit.probe == "maintain.limits.probes"}
    assert with_probe == set(limits.PROBES)


def test_a_probed_limit_says_where_it_was_seen() -> None:
    """What was taken from reports of other machines names them."""
    assert not [(name, limit.id) for name, limit in EVERY if limit.probe and not limit.seen]
    assert sum(bool(limit.upstream) for _, limit in EVERY) >= 50


@pytest.mark.parametrize("target", ["rtx4090", "l40s"])
@pytest.mark.parametrize(("tensor_parallel_size", "disabled"), [(1, False), (2, True)])
def test_custom_all_reduce_is_off_where_cards_do_not_reach_each_other(
    target: str, tensor_parallel_size: int, disabled: bool
) -> None:
    recipe = load_target(target)
    parameters = check_parameters(recipe, {"model": "gpt-oss-20b", "tensor_parallel_size": tensor_parallel_size})
    argv = serve_command(recipe, load_model("gpt-oss-20b"), parameters, "m", 8000).argv
    assert ("--disable-custom-all-reduce" in argv) is disabled


@pytest.mark.parametrize(
    ("answers", "state"), [(["391", "It is **42**.", "642"], GOES_ON), (["391", "42", "uo ü ;;"], ENDS)]
)
def test_one_wrong_sum_is_enough(answers: list[str], state: str) -> None:
    assert limits.judged(answers)[0] == state


@pytest.mark.parametrize(("version", "asked"), [(90500, True), (90402, False)])
def test_sums_are_asked_of_the_gpu_that_the_limit_is_about(
    tmp_path: Path, monkeypatch, version: int, asked: bool
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "properties").write_text(f"simd_count 1024\ngfx_target_version {version}\n")
    monkeypatch.setattr(limits, "answers", lambda questions: list(limits.KNOWN.values()))
    assert limits.word_salad(tmp_path)[0] == (GOES_ON if asked else UNKNOWN)


def test_one_question_a_stack_for_all_its_targets(monkeypatch) -> None:
    """Stacks that are not installed are answered for by the CPU's."""
    seen = []

    def interpreter(stack: str) -> Path:
        if stack in ("rocm", "xpu"):
            raise CookbookError(f"the stack {stack} is not installed")
        return Path(stack)

    def probe(python: Path, target: str, limit: str, module: str):
        seen.append((str(python), target, limit))

    monkeypatch.setattr(asked, "probe", probe)
    asked.probed(["a100", "h100", "mi300x", "mi325x"], interpreter)
    assert ("cuda", "a100, h100", "no-expert-balancing") in seen
    assert ("cpu", "mi300x, mi325x", "no-expert-balancing") in seen
    assert len(seen) == len(set(seen))


PLANTED = """
import json
from maintain.limits import probes as limits

class Base: pass
class Balanced(Base): pass
said = {}
for state, model in (("goes on", Balanced), ("ends", int)):
    limits.named = lambda module, name: Base if name in ("MixtureOfExperts", "SupportsHMA") else model
    said[state] = [limits.balanced()[0], limits.two_groups()[0]]
    experts = type("Backend", (), {"name": "CPU" if state == "goes on" else "TRITON"})
    limits.named = lambda module, name: lambda config: (experts, None)
    said[state].append(limits.adapted()[0])
print(json.dumps(said))
"""


@pytest.mark.real
def test_the_probes_tell_a_later_vllm_apart(interpreter: Path) -> None:
    words = [str(interpreter), "-c", PLANTED]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert json.loads(done.stdout.splitlines()[-1]) == {"goes on": ["goes on"] * 3, "ends": ["ends"] * 3}, done.stderr


@pytest.mark.full
@pytest.mark.parametrize(
    ("limit", "state"),
    [
        ("no-expert-balancing", ENDS),
        ("lmcache-two-kv-groups", ENDS),
        ("fp8-kv-below-8-9", ENDS),
        ("adapters-without-triton", ENDS),
        ("aiter-moe-word-salad", UNKNOWN),
    ],
)
def test_what_the_installed_vllm_still_has(interpreter: Path, limit: str, state: str) -> None:
    """Where one fails with "no longer needed", that limit can leave the recipes (a machine with a gfx950 decides the last)."""
    assert asked.probe(interpreter, "any", limit, "maintain.limits.probes").state == state
