"""A run with tools: the tool servers start before vLLM, are checked, supervised like it, and stop after it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from helpers.checks import Facts
from helpers.errors import CookbookError
from helpers.paths import NOTEBOOKS
from helpers.recipes.command.serve import Command
from helpers.runs.namespace import parameters_of
from helpers.runs.run import Run
from helpers.server import Server
from helpers.server.serving import NANO, Serving
from helpers.tools.sandbox import choose
from helpers.tools.servers import ToolServers
from helpers.tools.servers import start as start_tools

PAGES = NOTEBOOKS / "topics" / "pages"


@dataclass(frozen=True, eq=False)
class ToolServing(Serving):
    """A server to be that is told about the tool servers; otherwise the one it is made from."""

    tools: ToolServers | None = None

    def command(self, checkpoint: str, port: int) -> Command:
        """The recipe's command with `--tool-server`."""
        return with_tools(super().command(checkpoint, port), self.tools)


def with_tools(command: Command, tools: ToolServers | None) -> Command:
    """The command, and the tool servers where there are any."""
    if tools is None:
        return command
    return replace(command, argv=[*command.argv, "--tool-server", tools.argument], env=command.env | tools.env)


class Session(Run):
    """A `Run` whose vLLM is told about the python and browser tool servers."""

    tool_servers: ToolServers | None = None

    def tools(self, needed: bool = True, **options: Any) -> ToolServers:
        """Start the tool servers (or attach to equal ones) and say what contains the python tool.

        `options` are those of `helpers.tools.start`: sandbox, backend, corpus, data, seconds, ... The test model
        gets a corpus of its size, two short pages, and one result a search: it does not choose well among several.
        Where no sandbox works, this raises CookbookError, or leaves the python tool out if it is not `needed`.
        """
        if self.tool_servers:
            self.tool_servers.stop()
        if self.speaking.model.model == NANO or not needed:
            options = {"corpus": PAGES, "results": 1} | options
        if not needed:
            try:
                choose("auto")
            except CookbookError as error:
                print(f"python: not started: {error.line()}")
                options |= {"python": False}
        options = {"run_dir": self.folder, "report": print, "kept": self.parameters.keep_server} | options
        self.tool_servers = start_tools(**options)
        return self.tool_servers

    @property
    def command(self) -> Command:
        """The recipe's command, and the tool servers where they run."""
        return with_tools(super().command, self.tool_servers)

    def _serve(self, serving: Serving) -> Server:
        told = ToolServing(serving.target, serving.parameters, serving.model, self.tool_servers)
        return super()._serve(told)

    def begin(self) -> Server:
        """Install, weights, tools and launch in one call; what is there already is not done again.

        The tool servers answer before vLLM meets them: one that is down is named here.
        """
        print(self.install())
        print(self.weights())
        if self.tool_servers is None:
            self.tools()
        self.tool_servers.check()
        return self.launch()

    def stop(self) -> None:
        """Stop vLLM, then the tool servers, and check that nothing of either is left."""
        super().stop()
        if self.tool_servers is None or self.parameters.keep_server:
            return
        facts = Facts()
        self.tool_servers.stop()
        for name, server in self.tool_servers.servers.items():
            facts.need(name, server.shared() or not server.members(), "a process is left")
        self.check(facts.contract("tools.stopped", "lifecycle"))


def start(target: str, namespace: Mapping[str, Any]) -> Session:
    """Begin a session from a notebook: `run = start("cpu", globals())`, as for a target's run."""
    return Session(target, parameters_of(namespace))
