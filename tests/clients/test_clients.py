"""The real programs against the real vLLM with the middleware: a plain turn, and a turn with a tool that is carried out.

Codex CLI and opencode come from npm, the frameworks from the lock recipes/locks/clients.txt. Each has a home of its own,
telemetry off, and a namespace of its own where bubblewrap works; nothing that a model writes is run: the agents' shells
are off, the one tool is tests/clients/tools_server.py. gpt-oss-nano was not taught the agents' own instructions (20 kB),
so the tool turns replace them by one sentence.
"""

import contextlib
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_cpu_notebook import nbval, prepared

from helpers.paths import CACHE, NOTEBOOKS, ROOT
from hunt.cases import cases as harmful
from hunt.request import Request
from hunt.send import sent
from hunt.served import Given
from hunt.state import State
from maintain.clients import cases
from maintain.clients.catalogue import MIDDLEWARE, needs, program, served

PACKAGES = {"@openai/codex": "0.171.0", "opencode-ai": "1.18.33"}
PLAIN, WITH_TOOL = "What is the capital of France?", "What is the weather in Paris?"
SHORT = "You are a helpful assistant."
TURN_S, INSTALL_S = 150, 300
REFUSED_S = 10.0  # without the rules, 50 s and 11 GiB
FRAMEWORKS = ("openai_agents", "langchain", "llamaindex", "pydantic_ai", "smolagents", "anthropic")
QUIET = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
PROGRAMS = str(ROOT / "tests" / "clients" / "programs.py")
pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """The CPU recipe's server with the middleware."""
    from helpers.recipes.command.serve import flags_of
    from helpers.runs.run import Run

    run = Run("cpu", {"port": 0, "run_dir": str(tmp_path_factory.mktemp("clients"))})
    run.more = flags_of(MIDDLEWARE.split())
    yield run.begin(report=lambda *_: None)  # as the page on agents, which attaches to it
    run.stop()


@pytest.fixture(scope="module")
def packages() -> Path:
    """The folder of the installed npm packages' programs; where npm is missing, the tests fail in CI and say so elsewhere."""
    if not shutil.which("npm"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("npm is not installed, so no coding agent was run")
    folder = CACHE / "clients" / "npm"
    if any(installed(folder, name) != version for name, version in PACKAGES.items()):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(json.dumps({"private": True}))
        patience = "--fetch-timeout=30000"  # ms until a silent connection is tried again; npm's own is five minutes
        words = ["npm", "install", "--no-audit", "--no-fund", "--save-exact", patience]
        done = subprocess.run(
            [*words, *(f"{name}@{version}" for name, version in PACKAGES.items())],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    return folder / "node_modules" / ".bin"


def installed(folder: Path, name: str) -> str:
    """The version of an npm package in a folder, "" for none."""
    try:
        return json.loads((folder / "node_modules" / name / "package.json").read_text())["version"]
    except OSError:
        return ""


@dataclass
class Place:
    """One client's home, its working folder, and the tool that it is given."""

    home: Path
    celsius: int

    @property
    def work(self) -> Path:
        return self.home / "work"

    @property
    def calls(self) -> list[str]:
        """The cities that the tool was asked for."""
        path = self.home / "calls"
        return path.read_text().split() if path.exists() else []

    def tool(self, name: str) -> list[str]:
        """The command line of the MCP server."""
        script = str(ROOT / "tests" / "clients" / "tools_server.py")
        return [sys.executable, script, name, str(self.home / "celsius"), str(self.home / "calls")]

    def configure(self, client: str, server, folder: Path | None = None) -> dict[str, str]:
        """Write what `cookbook connect` prints below the home, or another folder; the variables that go with it."""
        import httpx

        with httpx.Client(base_url=server.base_url, timeout=30) as web:
            model, context = served(web)
        values, one = (server.base_url, model, context), program(client)
        for path, text in one.files.items():
            place = (folder or self.home) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(one.filled(text, *values))
        return {name: one.filled(value, *values) for name, value in one.env.items()}

    @property
    def environment(self) -> dict[str, str]:
        """What a client sees of this process's variables, and its home."""
        kept = ("PATH", "LANG", "PYENV_VERSION")
        return {name: os.environ[name] for name in kept if name in os.environ} | {"HOME": str(self.home)}

    @contextlib.contextmanager
    def serving(self, words: list[str], env: dict[str, str], address: str) -> Iterator[None]:
        """A client that serves others, from its first answer at an address to its end."""
        import httpx

        log = self.home / "serving.log"
        with log.open("w") as out:
            own = self.environment | env
            proc = subprocess.Popen([*contained(self.home), *words], cwd=self.work, env=own, stdout=out, stderr=out)
            try:
                for _ in range(TURN_S * 2):
                    with contextlib.suppress(httpx.HTTPError):
                        if httpx.get(address).status_code == 200:
                            break
                    assert proc.poll() is None, log.read_text()[-2000:]
                    time.sleep(0.5)
                yield
            finally:
                proc.terminate()
                proc.wait(30)

    def run(self, words: list[str], env: dict[str, str], seconds: float = TURN_S) -> str:
        """Run the client here, bounded; what it printed."""
        done = subprocess.run(
            [*contained(self.home), *words],
            cwd=self.work,
            env=self.environment | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
        return done.stdout


def contained(home: Path) -> list[str]:
    """bubblewrap around a client: it reads the system and writes to its home only. Its server is on this loopback."""
    from helpers.tools.sandbox.bubblewrap import Bubblewrap

    if Bubblewrap().why_not():
        return []
    binds = [
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--tmpfs",
        "/run",
        "--bind",
        str(home),
        str(home),
    ]
    return ["bwrap", *binds, "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--chdir", str(home / "work"), "--"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A home of a client's own; the tool's answer is drawn anew, so that nobody can know it without asking."""
    made = Place(tmp_path, random.randint(10, 39))
    made.work.mkdir()
    (tmp_path / "celsius").write_text(str(made.celsius))
    return made


def codex(packages: Path, place: Place, server, question: str, *more: str) -> str:
    """One run of Codex CLI; its last message."""
    env = place.configure("codex", server) | {"CODEX_HOME": str(place.home / ".codex")}
    words = [str(packages / "codex"), "exec", "--skip-git-repo-check", "--json", "--sandbox", "read-only"]
    settings = ["features.shell_tool=false", 'approval_policy="never"', "check_for_update_on_startup=false", *more]
    printed = place.run([*words, *(word for one in settings for word in ("-c", one)), question], env)
    events = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert events[-1]["type"] == "turn.completed", printed[-1500:]
    said = [event["item"]["text"] for event in events if event.get("item", {}).get("type") == "agent_message"]
    return said[-1]


def short(place: Place) -> list[str]:
    """Codex's settings for a model that knows none of its instructions."""
    (place.home / "short.md").write_text(SHORT)
    off = ("include_environment_context", "include_permissions_instructions", "skills.include_instructions")
    return [f'model_instructions_file="{place.home / "short.md"}"', *(f"{name}=false" for name in off)]


def test_codex_with_the_printed_configuration_gets_an_answer(packages: Path, place: Place, server) -> None:
    assert codex(packages, place, server, PLAIN)


def test_codex_answers_a_plain_question(packages: Path, place: Place, server) -> None:
    assert "Paris" in codex(packages, place, server, PLAIN, *short(place))


def test_codex_calls_a_tool_and_uses_its_result(packages: Path, place: Place, server) -> None:
    command, *words = place.tool("get_weather")
    tool = [f'mcp_servers.city.command="{command}"', f"mcp_servers.city.args={json.dumps(words)}"]
    tool += ['mcp_servers.city.default_tools_approval_mode="approve"', "mcp_servers.city.startup_timeout_sec=60"]
    tool += ["mcp_servers.city.required=true"]  # else the turn begins without a server that is not up yet
    said = codex(packages, place, server, WITH_TOOL, *short(place), *tool)
    assert place.calls == ["Paris"] and str(place.celsius) in said


def opencode(packages: Path, place: Place, server, question: str, **project: object) -> str:
    """One run of opencode; its last text."""
    folders = {
        f"XDG_{kind}_HOME": str(place.home / f".{kind.lower()}") for kind in ("DATA", "CACHE", "STATE", "CONFIG")
    }
    env = place.configure("opencode", server) | folders
    nothing = {"tools": {"*": False}, "permission": {"*": "deny"}, "agent": {"build": {"prompt": SHORT}}}
    (place.work / "opencode.json").write_text(json.dumps(nothing | project))
    printed = place.run([str(packages / "opencode"), "run", "--format", "json", *question.split()], env)
    events = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    texts = [event["part"]["text"] for event in events if event["type"] == "text"]
    assert texts, printed[-1500:]
    return texts[-1]


def test_opencode_answers_a_plain_question(packages: Path, place: Place, server) -> None:
    assert "Paris" in opencode(packages, place, server, PLAIN)


def test_opencode_calls_a_tool_and_uses_its_result(packages: Path, place: Place, server) -> None:
    """It puts the server's name before the tool's: `weather` of the server `get` is `get_weather`, which nano knows."""
    mcp = {"get": {"type": "local", "command": place.tool("weather"), "enabled": True}}
    only = {"tools": {"*": False, "get_*": True}, "permission": {"*": "deny", "get_*": "allow"}}
    said = opencode(packages, place, server, WITH_TOOL, mcp=mcp, **only)
    assert place.calls == ["Paris"] and str(place.celsius) in said


@pytest.fixture(scope="module")
def frameworks(server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What each framework did, all in one process: what they import together is imported once."""
    from helpers.machine.stack import ensure

    home = tmp_path_factory.mktemp("frameworks")
    (home / "work").mkdir()
    words = [str(ensure("clients", report=lambda line: None)), PROGRAMS, f"{server.base_url}/v1", server.model]
    printed = Place(home, 18).run([*words, *FRAMEWORKS], QUIET, 2 * TURN_S)
    found = [json.loads(line) for line in printed.splitlines() if line.startswith('{"client"')]
    return {one["client"]: one for one in found}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_framework_answers_and_calls_a_tool(frameworks: dict[str, dict], name: str) -> None:
    turns_are_right(frameworks[name])


def turns_are_right(found: dict) -> None:
    """The plain turns name Paris, and those with a tool carried it out and used what it returned."""
    assert not found["failed"], found["failed"]
    assert set(found["called"]) == {"Paris"}, "the tool was carried out"
    assert found["answers"] and all("Paris" in answer for answer in found["answers"][::2])
    if found["client"] != "smolagents":  # it ends with its own tool final_answer, which nano was not taught
        assert all("18" in answer for answer in found["answers"][1::2])


def test_litellm_answers_and_calls_a_tool_itself_and_as_a_proxy(place: Place, server) -> None:
    from helpers.machine.stack import ensure
    from helpers.processes import free_port

    python, port = ensure("litellm", report=lambda line: None), free_port()
    env = place.configure("litellm", server) | QUIET | {"LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(24)}"}
    turns_are_right(
        json.loads(place.run([str(python), PROGRAMS, f"{server.base_url}/v1", server.model, "litellm"], env))
    )
    words = [str(python.parent / "litellm"), "--config", str(place.home / "litellm.yaml"), "--telemetry", "False"]
    with place.serving(
        [*words, "--host", "127.0.0.1", "--port", str(port)], env, f"http://127.0.0.1:{port}/health/liveliness"
    ):
        words = [str(python), PROGRAMS, f"http://127.0.0.1:{port}", server.model, "litellm_proxy"]
        turns_are_right(json.loads(place.run(words, env)))


def test_aider_asks_with_the_printed_configuration(place: Place, server) -> None:
    """Its instructions are long and nano was taught none of them: that it answers at all is what is seen."""
    from helpers.machine.stack import ensure

    aider = ensure("aider", report=lambda line: None).parent / "aider"
    words = [str(aider), "--no-git", "--chat-mode", "ask", "--no-pretty", "--message", PLAIN]
    said = place.run(words, place.configure("aider", server, place.work))
    assert f"Model: openai/{server.model} with ask edit format" in said
    answer = said.partition("HISTORY.html")[2].partition("Tokens:")[0].splitlines()[1:]
    assert "".join(answer).strip() and "Error" not in said, said


def test_the_server_with_the_middleware_takes_every_request(server) -> None:
    """Every row of the table, with vLLM's own --middleware; the stored responses too."""
    import httpx

    with httpx.Client(base_url=server.base_url, timeout=120) as web:
        wrong = {
            row.what: row.seen(web, server.model)[-400:] for row in needs() if not row.finding(web, server.model).ok
        }
    assert wrong == {}


def test_the_table_of_reported_requests_is_what_the_server_does(server) -> None:
    """The rows without flags of their own: `python -m maintain.clients.cases` starts the servers that the others need."""
    import httpx

    kept, rows = cases.seen(), [row for row in cases.cases() if not row.flags]
    with httpx.Client(base_url=server.base_url, timeout=120) as web:
        found = {row.what: cases.ask(row, web, server.model) for row in rows}
    assert found == {what: kept[what] for what in found}


def test_what_would_end_the_server_is_refused_and_the_server_is_as_before(server) -> None:
    """Each case of recipes/requests/ that only the middleware prevents, its own way and by a path that leads to the same."""
    state = State(Given(server.base_url, server.log), server.model).begin()
    deadly = [case for case in harmful().values() if case.guarded and case.kind in ("kill", "hang")]
    asked = [one.request() for case in deadly for one in case.send]
    assert {request.path for request in asked} == {"/v1/responses", "/v1/completions", "/v1/chat/completions"}
    around = [Request("/invocations", one.body) for one in asked if one.path == "/v1/completions"]
    for outcome in sent(server.base_url, [*asked, *around], "alone"):
        assert outcome.status == 400 and outcome.response.headers["x-compat"] == "refused", outcome.text[:300]
        assert outcome.seconds < REFUSED_S, outcome.request.line()[:200]
    assert state.fault() == ""


def test_the_page_on_agents_holds(server, tmp_path: Path) -> None:
    """notebooks/topics/agents.ipynb against its committed lines; it attaches to this server."""
    page = prepared(NOTEBOOKS / "topics" / "agents.ipynb", tmp_path / "agents.ipynb", run_dir=str(tmp_path / "run"))
    done = nbval(page)
    assert done.returncode == 0, done.stdout[-4000:]
    assert server.running(), "the page lets go of a server that others use"


def test_connect_check_passes_with_the_middleware(server, cli: Callable) -> None:
    done = cli("connect", "codex", "--base-url", server.base_url, "--check")
    assert done.returncode == 0, done.stdout
