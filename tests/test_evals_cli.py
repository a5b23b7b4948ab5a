"""`cookbook eval` as a user runs it, the stack that it needs, and the embedded set on the real server."""

import json
import re
from pathlib import Path
from subprocess import CompletedProcess

import nbformat
import pytest
from eval_server import EvalServer, solve
from test_cpu_notebook import nbval, prepared

from helpers.errors import CookbookError
from helpers.evals.contracts import recount
from helpers.evals.result import Result, read_samples
from helpers.machine.stack import environment
from helpers.paths import NOTEBOOKS, ROOT

pytest_plugins = ["eval_stack"]

NOTEBOOK = NOTEBOOKS / "topics" / "evals.ipynb"


@pytest.mark.real
def test_a_run_on_a_server_that_is_there(cli, scorer: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    with EvalServer(lambda prompt, count: "4" if "2 + 2" in prompt else solve(prompt)) as server:
        done = cli(
            "eval",
            "cpu",
            "--base-url",
            server.url,
            "--eval",
            "nano-integer",
            "--effort",
            "low,high",
            "--examples",
            "3",
            "--repeats",
            "1",
            "--json",
            str(out),
            "--run-dir",
            str(tmp_path / "run"),
        )
    assert done.returncode == 0, done.stderr
    held = json.loads(out.read_text())
    assert [(item["eval"], item["effort"], item["score"], item["samples"]) for item in held] == [
        ("nano-integer", "low", 1.0, 3),
        ("nano-integer", "high", 1.0, 3),
    ]
    assert "output tokens" in done.stdout.splitlines()[0], "the estimate comes first"
    assert "✓ one request" in done.stdout and "no reference" in done.stdout
    assert (tmp_path / "run" / "record.json").exists()


@pytest.mark.real
def test_a_withheld_score_is_a_failure_with_its_cause(cli, scorer: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    with EvalServer(lambda prompt, count: "4" if "2 + 2" in prompt else "400") as server:
        done = cli(
            "eval",
            "cpu",
            "--base-url",
            server.url,
            "--eval",
            "nano-integer",
            "--effort",
            "low",
            "--json",
            str(out),
            "--run-dir",
            str(tmp_path / "run"),
        )
    assert done.returncode == 1 and "refused on purpose with 400" in done.stdout and "no score" in done.stdout
    (held,) = json.loads(out.read_text())
    assert held["score"] is None and held["stderr"] is None and held["failures"] >= 10 and held["state"] == "refused"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["eval", "mars"], 2, "unknown target 'mars'"),
        (["eval", "cpu", "--eval", "gqpa"], 2, "unknown evaluation 'gqpa'"),
        (["eval", "cpu", "--eval", "healthbench"], 2, "paid API"),
        (["eval", "cpu", "--effort", "huge"], 2, "given 'huge'"),
        (["eval", "h200", "--weights", "synthetic"], 2, "have no accuracy"),
        (["eval", "cpu", "--json", "nowhere/at/all.json"], 2, "cannot be written"),
        (["eval", "cpu", "--base-url", "localhost:8000"], 2, "is no address"),
        (["eval", "cpu", "--base-url", "http://127.0.0.1:9"], 1, "does not answer"),
    ],
)
def test_bad_input_is_one_line(cli, words: list[str], code: int, said: str) -> None:
    done = cli(*words)
    assert done.returncode == code and said in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


def test_a_short_context_starts_nothing(cli, tmp_path: Path) -> None:
    """The seed's trap at the command line: no sample is asked, the exit code is not 0, no file claims a score."""
    out = tmp_path / "out.json"
    header = "Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n"
    (tmp_path / "gpqa_diamond.csv").write_text(header + "Q,a,b,c,d\n" * 198)
    with EvalServer(lambda prompt, count: "A", model="gpt-oss-20b", length=32768) as server:
        done = cli(
            "eval",
            "h100",
            "--model",
            "gpt-oss-20b",
            "--base-url",
            server.url,
            "--eval",
            "gpqa",
            "--data",
            str(tmp_path),
            "--json",
            str(out),
        )
    assert done.returncode == 1 and "each would be refused" in done.stderr and "--max-model-len 131072" in done.stderr
    assert server.requests == [] and not out.exists()


@pytest.mark.real
def test_a_missing_interpreter_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environment.PYTHON_OF, "evals", "3.99")
    with pytest.raises(CookbookError, match=r"needs Python 3\.99.*uv python install 3\.99"):
        environment._needed_python(uv(), "evals", {})


@pytest.mark.real
def test_an_interpreter_that_only_pyenv_has_is_found(tmp_path: Path, scorer: Path) -> None:
    """pyenv's shim answers for active versions only; the interpreter itself lies under versions/."""
    real = scorer.resolve()
    place = tmp_path / "versions" / "3.12.99" / "bin"
    place.mkdir(parents=True)
    (place / "python3.12").symlink_to(real)
    found = environment._uv_python(uv(), (3, 12), {"PYENV_ROOT": str(tmp_path), "PATH": "", "HOME": str(tmp_path)})
    assert found and Path(found).resolve() == real


def uv() -> str:
    import sys

    return str(Path(sys.executable).parent / "uv")


@pytest.fixture(scope="module")
def page(server, scorer: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CompletedProcess, Path]:
    """The notebook executed under nbval on the shared server, with all questions, and the folder of its evaluation.

    Of eight questions, asked once, one effort may well have none or all right.
    """
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COOKBOOK_RUNS", str(folder / "runs"))  # another lane of the tests evaluates, too
        done = nbval(prepared(NOTEBOOK, folder / "evals.ipynb", base_url=server.base_url))
    made = list((folder / "runs").glob("evals/*"))
    assert len(made) == 1, done.stdout[-4000:]
    return done, made[0]


@pytest.mark.full
def test_the_notebook_s_contract_lines_hold(page) -> None:
    done, _ = page
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.full
def test_the_embedded_set_on_the_real_server(page) -> None:
    """gpt-oss-nano through vLLM and the reference's graders: neither 0 nor 100 %, and a count of our own agrees."""
    _, folder = page
    results = [Result.model_validate(item) for item in json.loads((folder / "results.json").read_text())]
    assert len(results) == 6 and all(result.state == "scored" for result in results), [r.why for r in results]
    for name, grader in (("nano-choice", "gpqa"), ("nano-integer", "aime25")):
        own = [result for result in results if result.eval == name]
        right = [recount(read_samples(folder / f"{name}-{r.effort}" / "samples.jsonl"), grader) for r in own]
        assert [count / 32 for count in right] == pytest.approx([result.score for result in own])
        assert all(0 < count < 32 for count in right), right
        by_effort = {result.effort: result for result in own}
        assert by_effort["low"].output_tokens < by_effort["high"].output_tokens


@pytest.mark.full
def test_nbval_sees_a_changed_line_of_the_notebook(server, scorer: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cell = next(cell for cell in notebook.cells if "evals.preflight" in str(cell.get("outputs", "")))
    cell.outputs[0].text = cell.outputs[0].text.replace("✓", "✗")
    changed = tmp_path / "changed.ipynb"
    nbformat.write(notebook, changed)
    done = nbval(prepared(changed, tmp_path / "evals.ipynb", base_url=server.base_url, examples=1, repeats=1))
    assert done.returncode == 1 and "✗" in done.stdout


def test_only_its_own_package_imports_the_reference_and_nobody_imports_that_package() -> None:
    for path in (ROOT / "helpers").rglob("*.py"):
        if path.relative_to(ROOT / "helpers").parts[:2] != ("instack", "evals"):
            pattern = r"^\s*(?:from|import) (?:gpt_oss|helpers\.instack\.evals)\b"
            assert not re.search(pattern, path.read_text(), re.M), path
