"""The steps of a run: contracts asked, tools started, the command as `docker run`, the record of what was done."""

import json
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from helpers.bench import worker as load
from helpers.checks import Contract, Facts
from helpers.errors import CookbookError
from helpers.logs import backends
from helpers.paths import NOTEBOOKS
from helpers.recipes import NANO, Parameters, load_model
from helpers.recipes.command.serve import Command
from helpers.records.record import Acceptance, RunRecord, Served
from helpers.server.replicas import VLLM, Replicas
from helpers.server.serving import Serving, recorded_parameters, recorded_server
from helpers.tools.sandbox import choose
from helpers.tools.servers import ToolServers, start

UNFINISHED = "the run did not finish"
REAL = ("hub", "path")
PAGES = NOTEBOOKS / "topics" / "pages"  # two short pages, a corpus of the test model's size


def not_asked(weights: str, parameters: Parameters) -> str:
    """Why known answers say nothing about what is served; empty where they do.

    Random weights answer noise on sound kernels too, and gpt-oss-nano knows the answers in part only
    (`cookbook eval cpu --eval quick` measures it by a bar of its own). `weights` is the kind that is served.
    """
    if weights in REAL:
        return ""
    if parameters.rehearse:
        return "a rehearsal serves gpt-oss-nano, the questions are for real weights"
    return f"the questions are for real weights (hub or a path), not for {parameters.weights_kind} ones"


def ask(base_url: str, model: str) -> Contract:
    """Ask the server, print the shares of right answers and what was wrong; the contract of both rounds."""
    from helpers.checks.known_answers import run_quick

    found = run_quick(base_url + "/v1", model)
    print(found)
    return found.contract()


def parsed(command: Command, worker: Any) -> Contract:
    """Put a recipe's own command before the parser of the vLLM that a load client has imported."""
    commands = [{"id": "own", "argv": command.words, "env": command.env}]
    found, facts = load.parsed(worker, commands)[0]["faults"], Facts()
    for kind, name in (("flag", "flags"), ("variable", "variables")):
        wrong = [f"{fault.get('name')}: {fault['message']}" for fault in found if fault["kind"] == kind]
        facts.need(name, not wrong, "; ".join(wrong))
    return facts.contract("command.parsed", "command")


def start_tools(model: str, needed: bool, **options: Any) -> ToolServers:
    """The tool servers for a model; without a sandbox the python tool is left out, unless it is `needed`.

    The test model gets a corpus of its size and one result a search: it does not choose well among several.
    Raises CookbookError where a server does not start.
    """
    report = options.setdefault("report", print)
    if model == NANO or not needed:
        options = {"corpus": PAGES, "results": 1} | options
    if not needed:
        try:
            choose("auto")
        except CookbookError as error:
            report(f"python: not started: {error.line()}")
            options |= {"python": False}
    return start(**options)


def tools_stopped(tools: ToolServers) -> Contract:
    """Stop the tool servers; the contract that nothing of them is left, unless somebody else uses one."""
    facts = Facts()
    tools.stop()
    for name, server in tools.servers.items():
        facts.need(name, server.shared() or not server.members(), "a process is left")
    return facts.contract("tools.stopped", "lifecycle")


def backends_named(serving: Serving, server: VLLM | Replicas, log: Path) -> Contract:
    """The contract that the log names the backends which the recipe counts on, and that the server answers."""
    facts, seen = Facts(), backends(log)
    own = serving.parameters
    for kind, expected in serving.target.expected_backends(own.activations, own.profile).items():
        if expected:
            name = seen.get(kind, "not named")
            facts.same(kind, expected if serving.target.expect.named(expected, name) else name, expected)
    facts.need("answers", server.healthy(), "/health gives no answer")
    return facts.contract("server.backends", "endpoints")


def acceptance_of(run: Any) -> Acceptance | None:
    """How many tokens a step of the measured server gave, where it speculates: set for a random head, else as counted."""
    draft = load_model(run.measured.parameters.model).draft
    if draft is None or not run.measured.speculates:
        return None
    if run.measured.weights == "synthetic":
        return Acceptance(kind="synthetic", tokens_per_step=draft.tokens_per_step, source=draft.source)
    read = [json.loads(file.read_text()) for file in (run.folder / "bench").glob("c*.json")]
    counted = [one["spec_decode_acceptance_length"] for one in read if "spec_decode_acceptance_length" in one]
    return Acceptance(kind="measured", tokens_per_step=median(counted)) if counted else None


def record_of(run: Any) -> RunRecord:
    """The record of what a `Run` has done so far: passed once it is finished and no contract is broken."""
    broken = [f"{contract.name}: {contract.why}" for contract in run.contracts if contract.state == "failed"]
    why = "; ".join(broken) or ("" if run.finished else UNFINISHED)
    served = recorded_server(run.commands, run.server, run.folder / "server.log")
    served["memory"] = served.get("memory", {}) | {"peak_gib": round(run.memory.peak_gib, 2)}
    return RunRecord(
        target=run.target.target,
        model=run.measured.model.model,
        weights=run.measured.weights,
        serving=Served.of(run.measured.parameters),
        parameters=recorded_parameters(run.parameters, run.measured),
        **served,
        **run.facts,
        versions=run.versions,
        acceptance=acceptance_of(run),
        contracts=run.contracts,
        state="failed" if why else "passed",
        why=why,
        started=run.started,
        finished=max(run.started, datetime.now(UTC)),
        throughput=run.points,
    )
