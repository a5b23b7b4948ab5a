"""Every target's notebook, every cell of it, on the CPU stack: its own command parsed by vLLM, the CPU's launched."""

from pathlib import Path

import pytest

from helpers.recipes import target_names
from helpers.render import notebook

OTHERS = [name for name in target_names() if name != "cpu"]


@pytest.mark.parametrize("target", target_names())
def test_the_notebook_is_what_its_recipe_renders(target: str) -> None:
    assert notebook.path_of(target).read_text() == notebook.text_of(notebook.render(target))


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("target", OTHERS)
def test_a_rehearsal_runs_every_cell(server, target: str, tmp_path: Path) -> None:
    from helpers.runs.execute import run_target

    given = {"rehearse": True, "port": 0, "run_dir": str(tmp_path / "run")}
    outcome = run_target(target, given, progress=False)
    assert outcome.passed, outcome.error
    names = {contract.name for contract in outcome.record.contracts}
    assert {"command.parsed", "evals.quick", "responses", "functions.loop", "server.stopped"} <= names
    assert outcome.record.model == "gpt-oss-nano" and outcome.record.parameters["rehearse"], "it claims nothing for its target"
    assert len(outcome.record.throughput) == 2
    assert server.running()
