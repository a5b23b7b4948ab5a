"""What a record says of the machine and of the parameters: what was there, and what ran."""

from pathlib import Path

import pytest

from helpers.cli.runs import summary
from helpers.machine import facts
from helpers.machine.preflight import gpus
from helpers.machine.preflight.machine import Gpu
from helpers.recipes import check_parameters, load_model, load_target
from helpers.runs.execute import Outcome
from helpers.runs.run import Run
from helpers.server.serving import REHEARSED_SWEEP, recorded_parameters, servings


@pytest.mark.parametrize("vendor", ["nvidia", "amd", "intel"])
def test_a_record_names_the_gpus_of_every_vendor(monkeypatch: pytest.MonkeyPatch, vendor: str) -> None:
    cards = [Gpu(number, f"a card of {vendor}", 24.02, 24.0) for number in range(2)]
    for name in ("nvidia", "amd", "intel"):
        monkeypatch.setattr(gpus, name, lambda own=name: (vendor, cards, "1.2", None, "") if own == vendor else None)
    machine = facts.machine()
    assert (machine.gpus, machine.driver, machine.gpu_memory_gib) == ([f"a card of {vendor}"] * 2, "1.2", 24.0)


def test_a_record_of_a_host_without_a_gpu_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nvidia", "amd", "intel"):
        monkeypatch.setattr(gpus, name, lambda: None)
    assert facts.machine().gpus == [] and facts.machine().gpu_memory_gib is None


def test_a_rehearsals_record_holds_the_sweep_that_ran() -> None:
    target = load_target("h200")
    asked = {"rehearse": True, "concurrency": [64], "input_tokens": 4096, "output_tokens": 4096}
    parameters = check_parameters(target, asked)
    _, measured = servings(target, load_model(parameters.model), parameters)
    recorded = recorded_parameters(parameters, measured)
    assert {name: recorded[name] for name in REHEARSED_SWEEP} == REHEARSED_SWEEP
    assert recorded["rehearse"] and recorded["tensor_parallel_size"] == parameters.tensor_parallel_size
    own = check_parameters(target, asked | {"rehearse": False})
    _, measured = servings(target, load_model(own.model), own)
    assert recorded_parameters(own, measured)["concurrency"] == [64]


def test_the_summary_of_a_run_that_failed_early_says_why_and_no_more(tmp_path: Path) -> None:
    run = Run("cpu", {"run_dir": str(tmp_path), "port": 0})
    why = "/models/x is no checkpoint because config.json [1] is missing; " + "fetch it again, " * 9 + "then run this"
    text = summary(Outcome(tmp_path, run.record().model_copy(update={"why": why}), why))
    assert text.splitlines()[0] == "cpu · gpt-oss-nano · weights nano", "no version of a vLLM that was not looked for"
    assert text.splitlines()[-1] == f"failed: {why}"
    assert not any(word in text for word in ("?", "start-up", "peak memory", "contracts", "┃"))
    run.versions = {"vllm": "0.32.0"}
    assert "vLLM 0.32.0" in summary(Outcome(tmp_path, run.record()))
