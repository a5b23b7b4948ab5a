"""What a record says of the machine and of the parameters: what was there, and what ran."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.checks import Contract
from helpers.checks.contract import ContractBroken
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


def test_the_tool_servers_are_stopped_where_vllm_was_not() -> None:
    """A process of vLLM that is left is told of after the tools have ended, not instead."""

    class Server(SimpleNamespace):
        def stop(self) -> None:
            stopped.append(self.name)

        def members(self) -> list[int]:
            return [1] if self.name == "vLLM" else []

        def shared(self) -> bool:
            return False

    stopped: list[str] = []
    run = object.__new__(Run)
    run.parameters, run.memory = SimpleNamespace(keep_server=False), SimpleNamespace(stop=lambda: None)
    run.server = Server(name="vLLM", lease=SimpleNamespace(port=1))
    run.tool_servers = Server(name="tools", servers={})
    run.check = Contract.raise_if_broken
    with pytest.raises(ContractBroken, match="a process or the port is left"):
        run.stop()
    assert stopped == ["vLLM", "tools"]
