"""The quick gate of a target notebook: asked where the weights are real, on record as skipped elsewhere."""

from pathlib import Path

import pytest
from eval_server import EvalServer

from helpers.checks.contract import ContractBroken
from helpers.checks.known_answers import questions
from helpers.recipes import check_parameters, load_target
from helpers.records.record import RunRecord
from helpers.runs.run import Run
from helpers.runs.steps import ask, not_asked


@pytest.mark.parametrize(
    "given, served, said",
    [
        ({"weights": "synthetic"}, "nano", "not for synthetic ones"),
        ({"weights": "nano", "rehearse": True}, "nano", "a rehearsal serves gpt-oss-nano"),
        ({"weights": "hub"}, "hub", ""),
    ],
)
def test_only_real_weights_are_asked(given: dict, served: str, said: str):
    why = not_asked(served, check_parameters(load_target("h200"), given))
    assert said in why and bool(said) == bool(why)


def test_a_skipped_gate_is_on_record_with_its_reason(tmp_path: Path, capsys):
    run = Run("h200", {"weights": "synthetic", "run_dir": str(tmp_path), "port": 0})
    run.quick_gate()
    (contract,) = RunRecord.read(tmp_path / "record.json").contracts
    assert (contract.name, contract.state, contract.group) == ("evals.quick", "skipped", "accuracy")
    assert "synthetic" in contract.why
    assert capsys.readouterr().out.startswith("evals.quick") and not run.server, "nothing was asked of any server"


def test_noise_breaks_the_contract_and_sense_keeps_it():
    known = {question: expected.split("|")[0] for question, expected in questions()}
    with EvalServer(lambda prompt, number: "!!!!!! gibberish", model="gpt-oss-20b") as server:
        broken = ask(server.url.removesuffix("/v1"), "gpt-oss-20b")
    assert not broken.passed
    with pytest.raises(ContractBroken, match=r"evals.quick is broken"):
        broken.raise_if_broken()
    with EvalServer(lambda prompt, number: known.get(prompt, "Yes."), model="gpt-oss-20b") as server:
        held = ask(server.url.removesuffix("/v1"), "gpt-oss-20b")
    assert held.passed, held.faults
