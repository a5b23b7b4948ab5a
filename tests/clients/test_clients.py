"""The real programs against the real vLLM with the middleware: a plain turn, and a turn with a tool that is carried out.

Codex CLI and opencode come from npm, the frameworks from the lock recipes/locks/clients.txt. Each has a home of its own,
telemetry off, and a namespace of its own where bubblewrap works; nothing that a model writes is run: the agents' shells
are off, the one tool is tests/clients/tools_server.py. gpt-oss-nano was not taught the agents' own instructions (20 kB),
so the tool turns replace them by one sentence.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.paths import CACHE, ROOT
from maintain.clients.catalogue import MIDDLEWARE, filled, needs, program, served

PACKAGES = {"@openai/codex": "0.171.0", "opencode-ai": "1.18.33"}
PLAIN, WITH_TOOL = "What is the capital of France?", "What is the weather in Paris?"
SHORT = "You are a helpful assistant."
TURN_S, INSTALL_S = 150, 300
FRAMEWORKS = ("openai_agents", "langchain", "llamaindex", "pydantic_ai", "smolagents", "anthropic", "litellm")
pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """The CPU recipe's server with the middleware."""
    from helpers.recipes.command.serve import flags_of
    from helpers.runs.run import Run

    run = Run("cpu", {"port": 0, "run_dir": str(tmp_path_factory.mktemp("clients"))})
    run.more = flags_of(MIDDLEWARE.split())
    run._start_load_client = lambda: None  # nothing is measured here
    run.install()
    run.weights()
    yield run.launch()
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
        words = ["npm", "install", "--no-audit", "--no-fund", "--save-exact"]
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

    def configure(self, client: str, server) -> dict[str, str]:
        """Write what `cookbook connect` prints; the variables that go with it."""
        import httpx

        with httpx.Client(base_url=server.base_url, timeout=30) as web:
            model, context = served(web)
        values = (server.base_url, model, context)
        for path, text in program(client).files.items():
            (self.home / path).parent.mkdir(parents=True, exist_ok=True)
            (self.home / path).write_text(filled(text, *values))
        return {name: filled(value, *values) for name, value in program(client).env.items()}

    def run(self, words: list[str], env: dict[str, str]) -> str:
        """Run the client here, bounded; what it printed."""
        plain = {name: os.environ[name] for name in ("PATH", "LANG", "PYENV_VERSION") if name in os.environ}
        done = subprocess.run(
            [*contained(self.home), *words],
            cwd=self.work,
            env=plain | {"HOME": str(self.home)} | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TURN_S,
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
def frameworks() -> Path:
    """The Python of the frameworks' own environment."""
    from helpers.machine.stack import ensure

    return ensure("clients", report=lambda line: None)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_framework_answers_and_calls_a_tool(frameworks: Path, place: Place, server, name: str) -> None:
    words = [
        str(frameworks),
        str(ROOT / "tests" / "clients" / "programs.py"),
        name,
        f"{server.base_url}/v1",
        server.model,
    ]
    quiet = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    found = json.loads(place.run(words, quiet).splitlines()[-1])
    assert set(found["called"]) == {"Paris"}, "the tool was carried out"
    assert all("Paris" in answer for answer in found["answers"][::2])
    if name != "smolagents":  # it ends with its own tool final_answer, which nano was not taught
        assert all("18" in answer for answer in found["answers"][1::2])


def test_the_server_with_the_middleware_takes_every_request(server) -> None:
    """Every row of the table, with vLLM's own --middleware; the stored responses too."""
    import httpx

    with httpx.Client(base_url=server.base_url, timeout=120) as web:
        wrong = {
            row.what: row.seen(web, server.model)[-400:] for row in needs() if not row.finding(web, server.model).ok
        }
    assert wrong == {}


def test_connect_check_passes_with_the_middleware(server, cli: Callable) -> None:
    done = cli("connect", "codex", "--base-url", server.base_url, "--check")
    assert done.returncode == 0, done.stdout
