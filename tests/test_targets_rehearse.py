"""Every target's notebook, every cell of it, on the CPU stack: its own command parsed by vLLM, the CPU's launched."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.bench.record import RunRecord
from helpers.recipes import target_names
from helpers.render import notebook

AT_ONCE = 3
OTHERS = [name for name in target_names() if name != "cpu"]


@pytest.mark.parametrize("target", target_names())
def test_the_notebook_is_what_its_recipe_renders(target: str) -> None:
    assert notebook.path_of(target).read_text() == notebook.text_of(notebook.render(target))


@pytest.fixture(scope="module")
def rehearsals(server, cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future]]:
    """All of them, `AT_ONCE` at a time on the shared server: one alone leaves most of the machine idle."""
    folder = tmp_path_factory.mktemp("rehearsals")

    def rehearse(target: str):
        return cli("run", target, "-p", "rehearse", "true", "-p", "port", "0", "-p", "run_dir", str(folder / target), timeout=300)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {target: pool.submit(rehearse, target) for target in OTHERS}


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("target", OTHERS)
def test_a_rehearsal_runs_every_cell(server, rehearsals: dict[str, Future], target: str) -> None:
    done = rehearsals[target].result()
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    record = RunRecord.model_validate_json((Path(done.args[-1]) / "record.json").read_text())
    names = {contract.name for contract in record.contracts}
    assert {"command.parsed", "evals.quick", "responses", "functions.loop", "server.stopped"} <= names
    assert record.state == "passed" and len(record.throughput) == 2
    assert record.model == "gpt-oss-nano" and record.parameters["rehearse"], "it claims nothing for its target"
    assert server.running()


def test_two_runs_at_one_moment_have_sockets_of_their_own() -> None:
    """Under one name, the second kernel of two would listen where the first's client asks: an invalid signature."""
    from helpers.runs.execute import ipc

    first, second = ipc(), ipc()
    assert first["transport"] == second["transport"] == "ipc" and first["ip"] != second["ip"]
    assert len(first["ip"]) < 40, "a unix socket's path is at most 107 characters long"
