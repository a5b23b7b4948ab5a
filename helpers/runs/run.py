"""One run of a target notebook: each step is one call, and every step is on file as soon as it is done."""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import Thread
from typing import Any

from helpers.checks import Contract, Facts
from helpers.machine import facts
from helpers.paths import CACHE, shown
from helpers.recipes import Parameters, check_parameters, load_model, load_target
from helpers.recipes.command.serve import Command, Flags
from helpers.records.record import ContractResult, Point, RunRecord
from helpers.runs import steps, throughput
from helpers.runs.folder import link_latest, new_folder
from helpers.runs.memory import PeakMemory
from helpers.runs.namespace import parameters_of
from helpers.server import Report, free_port, port_free, print_phase
from helpers.server.replicas import VLLM, Replicas, launch_vllm
from helpers.server.serving import Serving, servings


class Run:
    """The state of a run and its steps, in the order of the notebook.

    `start` makes one. Its record on disk says `failed` until `finish` has seen everything pass, so that a
    run that is cut off is never taken for a whole one.
    """

    def __init__(self, target: str, parameters: Mapping[str, Any]):
        self.target = load_target(target)
        self.parameters: Parameters = check_parameters(self.target, parameters)
        self.model = load_model(self.parameters.model)
        self.speaking, self.measured = servings(self.target, self.model, self.parameters)
        self.serving = self.speaking
        folder = Path(self.parameters.run_dir) if self.parameters.run_dir else None
        if folder:
            (folder / "bench").mkdir(parents=True, exist_ok=True)
            link_latest(folder.resolve())
        self.folder = folder.resolve() if folder else new_folder(target)
        self.contracts: list[ContractResult] = []
        self.points: list[Point] = []
        self.server: VLLM | Replicas | None = None
        self.commands: list[Command] = []  # what was launched last, kept where it did not start as well
        self.tool_servers: Any = None
        self.more: Flags = {}  # flags beyond the recipe's, e.g. a --middleware
        self.interpreter: Path | None = None
        self.checkpoints: dict[Serving, str] = {}
        self.started, self.finished = datetime.now(UTC), False
        self.versions: dict[str, str] = {}
        self._load = None
        self.facts = {"machine": facts.machine(), "commit": facts.commit()}
        self.memory = PeakMemory(lambda: self.server.members() if self.server else [])
        self.save()

    def __repr__(self) -> str:
        values = self.parameters.model_dump(
            exclude={"run_dir", "restart"} if self.parameters.restart == "no" else {"run_dir"}
        )
        lines = [f"{name:22} {value}" for name, value in values.items()]
        risk = self.target.serve.profiles[self.parameters.profile].risk
        lines += [f"{'risk':22} {risk}"] if risk else []
        return f"{self.target.title}: {self.model.title}, files in {shown(self.folder)}\n" + "\n".join(lines)

    def install(self) -> str:
        """The serving stack, installed unless it is there; returns one line with its versions."""
        from helpers.machine.interpreter import serving_stack

        self.interpreter, self.versions = serving_stack(self.speaking.target.stack.install, self.parameters.install)
        self.save()
        return " · ".join(f"{name} {version}" for name, version in self.versions.items())

    def preflight(self) -> Any:
        """What this machine has against what the recipe needs; raises when something needed is missing."""
        from helpers.machine import preflight

        report = preflight.check(self.target, self.parameters)
        report.raise_if_failed()
        return report

    def weights(self) -> str:
        """The checkpoints to serve, built, written or fetched unless they are there; a line about each."""
        from helpers.server.weights import checkpoint, describe

        servings = dict.fromkeys([self.speaking, self.measured])
        for serving in servings:
            self.checkpoints[serving] = checkpoint(serving, self.interpreter, CACHE / "models")
        return "\n".join(f"{s.model.model}: {describe(self.checkpoints[s])}{s.draft_note()}" for s in servings)

    @cached_property
    def port(self) -> int:
        return self.parameters.port or free_port()

    @property
    def command(self) -> Command:
        """The command of this recipe for these parameters: what a terminal on its machine would run."""
        own = Serving(self.target, self.parameters, self.model)
        return self._command_of(own, self.checkpoints.get(self.measured, "") if own == self.measured else "")

    def _command_of(self, serving: Serving, checkpoint: str) -> Command:
        """A serving's command, told about the tool servers where they run."""
        command, tools = serving.command(checkpoint, self.port).changed(self.more), self.tool_servers
        return command.with_tools(tools.argument, tools.env) if tools else command

    def tools(self, needed: bool = True, **options: Any) -> Any:
        """Start the tool servers (or attach to equal ones) and say what contains the python tool.

        `options` are those of `helpers.tools.servers.start`: sandbox, backend, corpus, data, seconds, ... Where no
        sandbox works, this raises CookbookError, or leaves the python tool out if it is not `needed`.
        """
        if self.tool_servers:
            self.tool_servers.stop()
        options |= {"run_dir": self.folder, "kept": self.parameters.keep_server}
        self.tool_servers = steps.start_tools(self.speaking.model.model, needed, **options)
        return self.tool_servers

    def begin(self, say: Callable[[str], None] = print, report: Report = print_phase, **tools: Any) -> VLLM | Replicas:
        """Install, weights, tools (`tools` as for `tools()`) and launch in one call; what is there is not done again.

        The tool servers answer before vLLM meets them: one that is down is named here.
        """
        say(self.install())
        say(self.weights())
        if self.tool_servers is None:
            self.tools(report=say, **tools)
        self.tool_servers.check()
        return self._serve(self.speaking, report)

    def launch(self) -> VLLM | Replicas:
        """Start vLLM with the recipe's command, or attach to the one that runs with it already.

        The model that answers the contracts comes first; where the weights to be measured cannot speak
        (synthetic ones), that is gpt-oss-nano.
        """
        self.load_client()
        Thread(target=throughput.import_ahead, daemon=True).start()
        return self._serve(self.speaking)

    def _serve(self, serving: Serving, report: Report = print_phase) -> VLLM | Replicas:
        checkpoint = self.checkpoints[serving]
        self.serving, self.server = serving, None
        self.commands = serving.replicas(self._command_of(serving, checkpoint))
        self.save()
        self.server = launch_vllm(
            self.commands,
            self.interpreter,
            port=self.port,
            log=self.folder / "server.log",
            target=self.target.target,
            checkpoint=checkpoint,
            kept=self.parameters.keep_server,
            report=report,
            restart=self.parameters.restart == "on-failure",
        )
        self.commands = self.server.commands  # what it attached to may listen elsewhere
        self.save()
        return self.server

    def load_client(self) -> Any:
        """The load client's process, started unless it runs: it imports for 25 CPU-seconds while the server starts."""
        from helpers.bench.worker import LoadWorker

        if self._load is None or self._load.process.poll() is not None:
            key = os.environ.get("VLLM_API_KEY")
            self._load = LoadWorker(self.interpreter, self.folder / "bench" / "load.log", key)
        return self._load

    def check_backends(self) -> None:
        """The contract that vLLM chose the attention and MoE backends which the recipe counts on.

        In a rehearsal: that vLLM's parser takes this recipe's own command, since the CPU's was launched.
        """
        if self.parameters.rehearse:
            return self.check(steps.parsed(self.command, self.load_client()))
        self.check(steps.backends_named(self.serving, self.server, self.folder / "server.log"))

    def stop(self) -> None:
        """Stop vLLM, then the tool servers (unless `keep_server`), and check that nothing of either is left."""
        facts = Facts()
        if self.parameters.keep_server:
            print(f"kept: {self.server.base_url}, until `cookbook stop --port {self.port}`")
            return
        self.memory.stop()
        self.server.stop()
        gone = not self.server.members() and port_free(self.server.lease.port)
        facts.need("nothing left behind", gone or self.server.shared(), "a process or the port is left")
        try:
            self.check(facts.contract("server.stopped", "lifecycle"))
        finally:  # the tools' processes end whatever became of vLLM's
            if self.tool_servers:
                self.check(steps.tools_stopped(self.tool_servers))

    def client(self):
        """An OpenAI client for this server; the key is whatever VLLM_API_KEY holds."""
        from openai import OpenAI

        return OpenAI(
            base_url=self.server.base_url + "/v1",
            api_key=os.environ.get("VLLM_API_KEY") or "none",
            timeout=300,
            max_retries=0,
        )

    def quick_gate(self) -> None:
        """Questions with known answers, in two rounds of all at once, where the weights are real."""
        if why := steps.not_asked(self.serving.weights, self.parameters):
            return self.skip("evals.quick", "accuracy", why)
        self.check(steps.ask(self.server.base_url, self.serving.model.model))

    def check(self, contract: Contract) -> None:
        """Print a contract's line and put it on record; raises `ContractBroken` when it does not hold."""
        if contract.skipped:
            return self.skip(contract.name, contract.group, contract.skipped)
        state, why = ("passed", "") if contract.passed else ("failed", "; ".join(contract.faults))
        self._enter(contract.name, contract.group, state, why)
        print(contract.line())
        contract.raise_if_broken()

    def skip(self, name: str, group: str, why: str) -> None:
        """Put on record, and say, that a contract was not checked and why."""
        self._enter(name, group, "skipped", why)
        print(f"{name:34} – skipped: {why}")

    def _enter(self, name: str, group: str, state: str, why: str) -> None:
        served = {"model": self.serving.model.model, "weights": self.serving.weights}
        self.contracts.append(ContractResult(name=name, group=group, state=state, why=why, **served))
        self.save()

    def load_command(self) -> str:
        """The `vllm bench serve` line behind the last point of the sweep."""
        return throughput.load_command(self)

    def sweep(self) -> list[Point]:
        """Throughput and latency at each concurrency of the parameters (`vllm bench serve`, warmed up at each).

        Weights that cannot speak are served here in place of gpt-oss-nano, which answered the contracts.
        """
        if self.serving != self.measured:
            self.server.stop()
            self._serve(self.measured)
            self.check(steps.backends_named(self.serving, self.server, self.folder / "server.log"))
        try:
            self.points = throughput.measure(self)
        finally:
            self.memory.look()  # server and load client are at their largest
            self._load.close()
        self.save()
        return self.points

    def takeaways(self) -> str:
        """Where the knee of the sweep is and what one user feels there."""
        return throughput.takeaways(self.points)

    def table(self):
        """The points of the sweep as a data frame."""
        return throughput.points_table(self.points)

    def figure(self):
        """Throughput and TPOT against concurrency, saved as `throughput.png`."""
        from helpers.plots.throughput import throughput_figure

        where = f"{self.measured.model.title} on {self.measured.target.title}"
        if self.measured.weights != "nano":  # the test model's title says what it is
            where += f", {self.measured.weights} weights, vLLM {self.versions['vllm']}"
        figure = throughput_figure(self.points, title=where)
        figure.savefig(self.folder / "throughput.png")
        return figure

    def finish(self) -> str:
        """Write the record as passed; returns one line about it."""
        self.finished = True
        self.save()
        skipped = sum(contract.state == "skipped" for contract in self.contracts)
        counted = f"contracts: {len(self.contracts) - skipped}" + (f" ({skipped} skipped)" if skipped else "")
        return f"{counted}, points: {len(self.points)}, record: {shown(self.folder / 'record.json')}"

    def record(self) -> RunRecord:
        """The record of what has been done so far: passed once it is finished and no contract is broken."""
        return steps.record_of(self)

    def save(self) -> None:
        self.record().write(self.folder / "record.json")


def start(target: str, namespace: Mapping[str, Any]) -> Run:
    """Begin a run from a notebook: `run = start("cpu", globals())` takes the parameters from the notebook.

    Raises `UsageError` for an unknown or ill-typed parameter, also one that papermill only warned about.
    """
    return Run(target, parameters_of(namespace))
