"""Secrets leave no text, environment, command line or nested data."""

import ast
import base64
import contextlib
import os
import pty
import subprocess
import sys
import termios
import time
from urllib.parse import quote

import canaries
import nbformat
import papermill
import pytest
from eval_server import EvalServer
from hub_server import Hub

from helpers import keys, redact
from helpers.checks import Facts
from helpers.errors import CookbookError
from helpers.paths import ROOT
from helpers.recipes import load_model
from helpers.runs.run import Run
from helpers.server import free_port, launch, stop
from helpers.server import lease as lease_module
from maintain.batch import run_batch
from maintain.batch.plan import PlannedRun

pytest_plugins = ["eval_stack"]

CANARY = "canary0123456789abcdef"


@pytest.mark.parametrize(
    "text",
    [
        f"HF_TOKEN={CANARY}",
        f"export VLLM_API_KEY='{CANARY}'",
        f"--api-key {CANARY}",
        f"--api-key={CANARY} --port 8000",
        f"'api_key': ['{CANARY}', 'second-{CANARY}']",
        f'{{"api_key": "{CANARY}"}}',
        f"Authorization: Bearer {CANARY}",
        f"authorization: {CANARY}",
        f"x-api-key: {CANARY}",
        f"curl -H 'Authorization: Bearer {CANARY}' http://127.0.0.1:8000",
        f"https://user:{CANARY}@example.org/simple",
        f"https://example.org/file?token={CANARY}&x=1",
        f"EXA_API_KEY: {CANARY}",
        f"password={CANARY}",
        f"AWS_SECRET_ACCESS_KEY={CANARY}",
        "hf_canaryABCDEFGHIJ",
        "sk-canary-ABCDEFGH",
        "ghp_canary0123456789abcd",
        "-----BEGIN RSA PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY-----",
        "eyJcanaryabcd.eyJcanaryabcd.canarysignature",
    ],
)
def test_canaries_are_masked_in_text(text):
    assert "canary" not in redact.text(text, [])
    assert redact.MASK in redact.text(text, [])


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=131072 cannot be greater than max_model_len=32768",
        "openai_harmony.HarmonyError: Unexpected token 12606 while expecting start token 200006",
        "completion_tokens: 42, 'prompt_tokens': 7",
        "--max-num-batched-tokens 1024 --tokenizer openai/gpt-oss-20b",
        "--tokenizer-mode auto --skip-tokenizer-init",
        "KeyError: 'model.layers.0.self_attn.k_proj'",
        "Running: 3 reqs, generation throughput: 12.1 tokens/s",
        "eos_token_id=200002 pad_token_id=199999",
        "ssl_keyfile=None, api_key=None",
    ],
)
def test_ordinary_text_is_left_alone(text):
    assert redact.text(text, []) == text


def test_values_of_the_environment_are_masked_anywhere(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_TOKEN", CANARY)
    monkeypatch.setenv("PWD", "/some/folder")
    assert redact.text(f"it sent {CANARY} to /some/folder") == "it sent *** to /some/folder"


def test_env():
    found = redact.environment(
        {
            "HF_TOKEN": CANARY,
            "PATH": "/usr/bin",
            "VLLM_API_KEY": "k",
            "NOTE": f"uses {CANARY}",
            "TOKENIZERS_PARALLELISM": "false",
            "EMPTY_KEY": "",
        }
    )
    assert found == {
        "HF_TOKEN": "***",
        "PATH": "/usr/bin",
        "VLLM_API_KEY": "***",
        "NOTE": "uses ***",
        "TOKENIZERS_PARALLELISM": "false",
        "EMPTY_KEY": "",
    }


def test_what_a_record_keeps_is_masked_by_the_same_policy():
    """A lone TOKEN is a secret where a program is told it; what an older record says stays as it is."""
    assert redact.environment({"TOKEN": "k", "VLLM_LOGGING_LEVEL": "(removed)"}) == {
        "TOKEN": "***",
        "VLLM_LOGGING_LEVEL": "(removed)",
    }
    assert redact.argv(["--token", "k", "--token=k", "--api-key", "(removed)"], []) == [
        *("--token", "***", "--token=***", "--api-key", "***")
    ]
    assert redact.argv(redact.argv(["--api-key", "k"], []), []) == ["--api-key", "***"], "masking twice is masking once"


def test_argv():
    words = [
        "vllm",
        "serve",
        "m",
        "--api-key",
        "one",
        "two",
        "--port",
        "8000",
        f"--hf-token={CANARY}",
        "--max-tokens",
        "5",
    ]
    assert redact.argv(words, []) == [
        "vllm",
        "serve",
        "m",
        "--api-key",
        "***",
        "***",
        "--port",
        "8000",
        "--hf-token=***",
        "--max-tokens",
        "5",
    ]


def test_nested_data():
    value = {
        "env": {"HF_TOKEN": CANARY},
        "argv": ["x", "--api-key", CANARY],
        "n": 3,
        "usage": {"total_tokens": 9},
        "deep": [{"text": f"Bearer {CANARY}"}],
    }
    clean = redact.data(value, [])
    assert CANARY not in str(clean) and clean["n"] == 3 and clean["usage"] == {"total_tokens": 9}
    assert clean["argv"] == ["x", "--api-key", "***"]


def test_an_error_line_and_the_message_behind_it_hold_no_secret(monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", CANARY)
    error = CookbookError(
        f"http://u:{CANARY}x@host does not answer", why=f"it was sent {CANARY}", do="HF_TOKEN=hf_canary0123"
    )
    for text in (error.line(), str(error), repr(error)):
        assert "canary" not in text and redact.MASK in text
    assert "unknown parameter" in CookbookError("api_key: unknown parameter").line()
    assert "/etc/passwd: no failure found" in CookbookError("/etc/passwd: no failure found").line()


def test_no_message_of_the_product_looks_like_a_secret():
    """Every error line goes through the mask: one that reads like an assignment would reach the user with `***` in it."""
    masked = []
    for path in sorted((ROOT / "helpers").rglob("*.py")):
        tree = ast.parse(path.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        masked += [
            f"{path.name}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docs
            and redact.text(node.value, []) != node.value
        ]
    assert masked == []


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "cpu", "--base-url", f"http://u:{CANARY}@127.0.0.1:9/v1"),
        ("eval", "cpu", "--base-url", f"u:{CANARY}@127.0.0.1:9"),
        ("doctor", "--live", f"http://u:{CANARY}@127.0.0.1:9"),
        ("nano", "eval", "--base-url", f"http://u:{CANARY}@127.0.0.1:9"),
        ("tools", "list", f"u:{CANARY}@127.0.0.1:9"),
        ("run", "cpu", "-p", "api_key", CANARY),
        ("run", "cpu", "-p", "hf_token", CANARY),
    ],
    ids=lambda words: " ".join(words[:2]) if isinstance(words, tuple) else None,
)
@pytest.mark.real
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(cli_process, tmp_path, words):
    done = cli_process(*words, env={"COOKBOOK_RUNS": str(tmp_path)})
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, (done.returncode, done.stderr)
    assert CANARY not in done.stdout + done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing was begun"


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8000/v1", "https://h/v1?user=a@b", "localhost:8000", "http://[::1]:8000/@"]
)
def test_an_address_without_a_password_is_taken(address):
    assert keys.keyless(address) == address


ASKER = """
import os, subprocess, sys
from helpers import keys
got = keys.key("EXA_API_KEY", "web search with exa")
child = subprocess.run([sys.executable, "-c", "import os; print(len(os.environ.get('EXA_API_KEY', '')))"],
                       capture_output=True, text=True).stdout.strip()
print("length", len(got), "child", child, flush=True)
"""


def without_key() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in canaries.KEYS}


@pytest.mark.real
def test_a_person_is_asked_for_a_missing_key_without_an_echo():
    """On a real terminal: what is typed comes back nowhere on it, and the programs started then have the key."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ASKER],
        cwd=ROOT,
        env=without_key(),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=controlling,
    )
    os.close(slave)
    seen = b""
    while b"not shown): " not in seen:
        seen += os.read(master, 4096)
    deadline = time.monotonic() + 10
    while termios.tcgetattr(master)[3] & termios.ECHO:
        assert time.monotonic() < deadline, "the terminal would echo"
        time.sleep(0.02)
    os.write(master, CANARY.encode() + b"\n")
    with contextlib.suppress(OSError):  # the end of a terminal whose program is gone
        while piece := os.read(master, 4096):
            seen += piece
    assert process.wait(10) == 0
    os.close(master)
    assert CANARY.encode() not in seen
    assert f"length {len(CANARY)} child {len(CANARY)}".encode() in seen


def controlling() -> None:
    """The terminal on standard input becomes this process's own."""
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.real
def test_nobody_is_asked_where_nobody_sits():
    done = subprocess.run(
        [sys.executable, "-c", ASKER], cwd=ROOT, env=without_key(), input=CANARY + "\n", capture_output=True, text=True
    )
    assert done.stdout == "length 0 child 0\n" and not done.stderr


@pytest.mark.real
def test_a_browser_backend_and_the_hub_ask_for_their_key(monkeypatch, tmp_path):
    from helpers.machine.weights import hub
    from helpers.tools import servers

    asked = []
    monkeypatch.setattr(keys, "ask", lambda name, _: asked.append(name) or "")
    for name in ("EXA_API_KEY", "YDC_API_KEY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for backend in ("exa", "youcom"):
        with pytest.raises(CookbookError, match="is not set"):
            servers.start(python=False, backend=backend, run_dir=tmp_path)
    model = load_model("gpt-oss-20b")
    closed = Hub(model.hub_id, tmp_path, token="the-token")
    monkeypatch.setenv("HF_ENDPOINT", closed.endpoint)
    try:
        with pytest.raises(hub.HubRefused, match="no token was given"):
            hub.fetch(model, tmp_path / "cache", report=lambda _: None)
        assert asked == ["EXA_API_KEY", "YDC_API_KEY", "HF_TOKEN"]
        monkeypatch.setattr(keys, "ask", lambda name, _: monkeypatch.setenv(name, "the-token") or "the-token")
        with pytest.raises(CookbookError) as caught:  # the folder is no model: it gets past the door and no further
            hub.fetch(model, tmp_path / "cache", report=lambda _: None)
        assert not isinstance(caught.value, hub.HubRefused)
    finally:
        closed.close()


CELLS = (
    "import os\nprint(os.environ['EXA_API_KEY'])",
    "os.environ['HF_TOKEN']",
    "raise ValueError(os.environ['YDC_API_KEY'])",
)


@pytest.mark.real
def test_canaries_are_nowhere_in_what_the_writers_leave(monkeypatch, tmp_path, cli, scorer):
    """Record, executed notebook, log, lease, batch summary and evaluation, with a key in every place that one can enter."""
    from helpers.runs.notebook_file import save_whole

    for name, value in canaries.KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COOKBOOK_CACHE", str(tmp_path / "cache"))  # of the supervisor
    monkeypatch.setattr(lease_module, "FOLDER", tmp_path / "cache" / "leases")
    leaky = "; ".join(canaries.KEYS.values())
    folder = tmp_path / "run"
    run = Run("cpu", {"run_dir": str(folder), "port": 0})
    facts = Facts()
    facts.need("answers", False, f"the server said: wrong key {leaky}")
    with pytest.raises(CookbookError):
        run.check(facts.contract("demo", "endpoints"))
    run.save()

    argv = [sys.executable, str(ROOT / "tests" / "health_server.py"), "--port", str(port := free_port())]
    launch(
        argv, {}, port=port, log=folder / "server.log", target="drill", model="none", report=lambda *_: None, kept=True
    )
    leases = tmp_path / "cache" / "leases"
    assert list(leases.glob("*.json")), "there is a lease to search"
    found = canaries.found_in(folder, leases)
    for lease in lease_module.leases():
        stop(lease)

    source = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbformat.write(source, tmp_path / "source.ipynb")
    save_whole(folder)
    with pytest.raises(papermill.PapermillExecutionError):
        papermill.execute_notebook(
            str(tmp_path / "source.ipynb"), str(folder / "notebook.ipynb"), progress_bar=False, kernel_name="python3"
        )
    executed = nbformat.read(folder / "notebook.ipynb", as_version=4)
    assert redact.MASK in str(executed.cells[-1].outputs), "the cell's error is there, without the key"

    def refused(run, given, slot):
        raise CookbookError("the port is taken", why=leaky)

    run_batch([PlannedRun("a", "cpu", {})], tmp_path / "batch", refused, report=lambda *_: None)

    with EvalServer(lambda prompt, count: "4" if "2 + 2" in prompt else "400") as server:
        server.reason = f"incorrect key: {canaries.KEYS['VLLM_API_KEY']}"
        done = cli(
            "eval",
            "cpu",
            "--base-url",
            server.url,
            "--eval",
            "nano-integer",
            "--effort",
            "low",
            "--run-dir",
            str(tmp_path / "eval"),
        )
    assert "incorrect key" in (tmp_path / "eval" / "results.json").read_text(), "the server's words are kept, masked"
    left = {path.name for path in (tmp_path / "eval").rglob("*")}
    assert {"request.json", "samples.jsonl", "scorer.log", "record.json", "settings.json"} <= left
    found += canaries.found_in(folder, tmp_path / "batch", tmp_path / "eval")
    assert found == []
    for secret in canaries.KEYS.values():
        assert secret not in done.stdout + done.stderr


def test_the_search_finds_what_it_looks_for(tmp_path):
    secret = canaries.KEYS["HF_TOKEN"]
    for number, text in enumerate((secret, f"x{base64.b64encode(b'user:' + secret.encode()).decode()}", quote(secret))):
        (tmp_path / str(number)).write_text(f"before {text} after")
    (tmp_path / "clean").write_text("nothing here")
    assert sorted(canaries.found_in(tmp_path)) == [f"{number}: {secret}" for number in range(3)]
