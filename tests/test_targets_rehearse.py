"""Every target's notebook, every cell of it, on the CPU stack: its own command parsed by vLLM, the CPU's launched.

All have the same code, so `make test` runs one of them; `make test-all` runs the others too.
"""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

from helpers.recipes import target_names
from helpers.records.record import RunRecord
from maintain.pages import notebook

REHEARSED = "h100"  # by `make test`
AT_ONCE = 3  # rehearsals side by side on the one server: each waits for it most of its time
OTHERS = [name for name in target_names() if name != "cpu"]


@pytest.mark.parametrize("target", target_names())
def test_the_notebook_is_what_its_recipe_renders(target: str) -> None:
    own = notebook.path_of(target).read_text() == notebook.text_of(notebook.render(target))
    assert own, f"{target}: recipe and page differ: `.venv/bin/cookbook render {target}` writes the page anew"


def code_of(target: str) -> list[str]:
    """The code of a target's notebook but for its parameters, the target's name taken out."""
    cells = nbformat.read(notebook.path_of(target), as_version=4).cells
    code = [
        c for c in cells if c.cell_type == "code" and not {"parameters", "from-records"} & {*c.metadata.get("tags", [])}
    ]
    return [cell.source.replace(f'"{target}"', "TARGET") for cell in code]


def test_every_target_runs_the_same_code() -> None:
    """What one rehearsal shows then holds for all: their notebooks differ in the target's name and the parameters only."""
    code = code_of(REHEARSED)
    assert len(code) > 25 and "run = start(TARGET, globals())" in "\n".join(code)
    for target in target_names():
        assert code_of(target) == code, f"{target}.ipynb runs other code than {REHEARSED}.ipynb"


@pytest.fixture(scope="module")
def rehearsals(server, cli_process, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A future of the finished process for each rehearsal that this session asks for, `AT_ONCE` under way."""
    asked = [item.callspec.params["target"] for item in request.session.items if "rehearsals" in item.fixturenames]
    folder = tmp_path_factory.mktemp("rehearsals")

    def run(target: str) -> subprocess.CompletedProcess:
        words = ["-p", "rehearse", "true", "-p", "port", "0", "-p", "run_dir", str(folder / target)]
        return cli_process("run", target, *words, timeout=300)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {target: pool.submit(run, target) for target in asked}


@pytest.mark.parametrize(
    "target", [pytest.param(t, marks=pytest.mark.real if t == REHEARSED else pytest.mark.full) for t in OTHERS]
)
def test_a_rehearsal_runs_every_cell(server, rehearsals, target: str) -> None:
    done = rehearsals[target].result()
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    record = RunRecord.model_validate_json((Path(done.args[-1]) / "record.json").read_text())
    names = {contract.name for contract in record.contracts}
    assert {"command.parsed", "evals.quick", "responses", "function.loop", "server.stopped"} <= names
    assert record.state == "passed" and len(record.throughput) == 2
    assert record.model == "gpt-oss-nano" and record.parameters["rehearse"], "it claims nothing for its target"
    assert server.running()


def test_two_runs_at_one_moment_have_sockets_of_their_own() -> None:
    """Under one name, the second kernel of two would listen where the first's client asks: an invalid signature."""
    from helpers.runs.execute import ipc

    first, second = ipc(), ipc()
    assert first["transport"] == second["transport"] == "ipc" and first["ip"] != second["ip"]
    assert len(first["ip"]) < 40, "a unix socket's path is at most 107 characters long"
