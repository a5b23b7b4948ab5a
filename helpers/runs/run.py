"""One run of a target notebook: each step is one call, and every step is on file as soon as it is done."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from helpers.bench.record import Contract as ContractEntry
from helpers.bench.record import Point, RunRecord
from helpers.checks import Contract, Facts
from helpers.command.serve import Command
from helpers.paths import CACHE, shown
from helpers.recipes import Parameters, check_parameters, load_model, load_target
from helpers.runs import facts
from helpers.runs.ahead import import_ahead
from helpers.runs.folder import link_latest, new_folder
from helpers.runs.memory import PeakMemory
from helpers.runs.namespace import parameters_of
from helpers.runs.serving import Serving, recorded_parameters, servings, start_serving
from helpers.server import Replicas, Server, free_port, port_free

UNFINISHED = "the run did not finish"


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
        self.contracts: list[ContractEntry] = []
        self.points: list[Point] = []
        self.server: Server | Replicas | None = None
        self.interpreter: Path | None = None
        self.checkpoints: dict[Serving, str] = {}
        self.started = datetime.now(UTC)
        self.finished = False
        self._load = None
        self._machine, self._commit = facts.machine(), facts.commit()
        self._memory = PeakMemory(lambda: self.server.members() if self.server else [])
        self.save()

    def __repr__(self) -> str:
        values = self.parameters.model_dump(exclude={"run_dir"})
        lines = [f"{name:22} {value}" for name, value in values.items()]
        risk = self.target.serve.profiles[self.parameters.profile].risk
        lines += [f"{'risk':22} {risk}"] if risk else []
        return f"{self.target.title}: {self.model.title}, files in {shown(self.folder)}\n" + "\n".join(lines)

    def install(self) -> str:
        """The serving stack, installed unless it is there; returns one line with its versions."""
        from helpers.runs.stack import serving_stack

        self.interpreter, self.versions = serving_stack(self.speaking.target.stack.install, self.parameters.install)
        self.save()
        return " · ".join(f"{name} {version}" for name, version in self.versions.items())

    def preflight(self) -> Any:
        """What this machine has against what the recipe needs; raises when something needed is missing."""
        from helpers import preflight

        report = preflight.check(self.target, self.parameters)
        report.raise_if_failed()
        return report

    def weights(self) -> str:
        """The checkpoints to serve, built, written or fetched unless they are there; a line about each."""
        from helpers.runs.weights import checkpoint, describe

        servings = dict.fromkeys([self.speaking, self.measured])
        for serving in servings:
            self.checkpoints[serving] = checkpoint(serving, self.interpreter, CACHE / "models")
        return "\n".join(f"{s.model.model}: {describe(self.checkpoints[s])}" for s in servings)

    @cached_property
    def port(self) -> int:
        return self.parameters.port or free_port()

    @property
    def command(self) -> Command:
        """The command of this recipe for these parameters: what a terminal on its machine would run."""
        own = Serving(self.target, self.parameters, self.model)
        return own.command(self.checkpoints.get(self.measured, "") if own == self.measured else "", self.port)

    def docker(self) -> str:
        """The same server as a container; a checkpoint in this checkout is mounted from there (`$PWD`)."""
        from helpers.runs.container import docker_run

        return docker_run(self.target, self.model, self.parameters, self.command)

    def launch(self) -> Server | Replicas:
        """Start vLLM with the recipe's command, or attach to the one that runs with it already.

        The model that answers the contracts comes first; where the weights to be measured cannot speak
        (synthetic ones), that is gpt-oss-nano.
        """
        return self._serve(self.speaking)

    def _serve(self, serving: Serving) -> Server | Replicas:
        checkpoint = self.checkpoints[serving]
        self._start_load_client()
        import_ahead()
        self.serving = serving
        self.server = start_serving(
            serving, checkpoint, self.interpreter, self.port, self.folder / "server.log",
            target=self.target.target, kept=self.parameters.keep_server,
        )  # fmt: skip
        self.save()
        return self.server

    def _start_load_client(self) -> None:
        """Import the load client (25 CPU-seconds) while the server starts, which leaves a core idle."""
        from helpers.bench.worker import LoadWorker, SharedWorker

        if SharedWorker.found() is None and (self._load is None or self._load.process.poll() is not None):
            key = os.environ.get("VLLM_API_KEY")
            self._load = LoadWorker(self.interpreter, self.folder / "bench" / "load.log", key)

    def check_backends(self) -> None:
        """The contract that vLLM chose the attention and MoE backends which the recipe counts on.

        In a rehearsal: that vLLM's parser takes this recipe's own command, since the CPU's was launched.
        """
        from helpers.bench.worker import SharedWorker
        from helpers.runs.rehearsal import parsed
        from helpers.server.logfacts import backends

        if self.parameters.rehearse:
            self._start_load_client()
            return self.check(parsed(self.command, SharedWorker.found() or self._load))

        facts, found, target = Facts(), backends(self.folder / "server.log"), self.serving.target
        own = self.serving.parameters
        for kind, wanted in target.expected_backends(own.activations, own.profile).items():
            if wanted:
                seen = found.get(kind, "not named")
                facts.same(kind, wanted if target.expect.named(wanted, seen) else seen, wanted)
        facts.need("answers", self.server.healthy(), "/health gives no answer")
        self.check(facts.contract("server.backends", "endpoints"))

    def stop(self) -> None:
        """Stop the server (unless `keep_server`), and check that nothing of it is left."""
        facts = Facts()
        if self.parameters.keep_server:
            print(f"kept: {self.server.base_url}, until `cookbook stop --port {self.port}`")
            return
        self._memory.stop()
        self.server.stop()
        gone = not self.server.members() and port_free(self.server.lease.port)
        facts.need("nothing left behind", gone or self.server.shared(), "a process or the port is left")
        self.check(facts.contract("server.stopped", "lifecycle"))
        if self.finished:
            self.finish()

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
        from helpers.runs.gate import ask, not_asked

        if why := not_asked(self.serving.weights, self.parameters):
            return self.skip("evals.quick", "accuracy", why)
        self.check(ask(self.server.base_url, self.serving.model.model))

    def check(self, contract: Contract) -> None:
        """Print a contract's line and put it on record; raises `ContractBroken` when it does not hold."""
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
        self.contracts.append(ContractEntry(name=name, group=group, state=state, why=why, **served))
        self.save()

    def sweep(self) -> list[Point]:
        """Throughput and latency at each concurrency of the parameters (`vllm bench serve`, warmed up at each).

        Weights that cannot speak are served here in place of gpt-oss-nano, which answered the contracts.
        """
        from helpers.bench.roofline import roofline
        from helpers.bench.sweep import plan, sweep

        p, model = self.measured.parameters, self.measured.model
        if self.serving != self.measured:
            self.server.stop()
            self._serve(self.measured)
        loads = plan(p.concurrency, p.input_tokens, p.output_tokens)
        limit = roofline(model, self.measured.target.device, p.tensor_parallel_size, p.replicas)
        self._start_load_client()
        # gpt-oss-nano may fall into tokens without text past its answer's end: greedy and seeded it does not.
        steady = {"temperature": 0.0, "seed": 5} if self.measured.weights == "nano" else {}
        try:
            self.points = sweep(
                self.server.base_url, model.model, self.checkpoints[self.measured], self.interpreter, loads, self.folder,
                worker=self._load, **steady, gpus=p.tensor_parallel_size * p.replicas, tag=self.server.lease.fingerprint,
                roofline=None if self.measured.weights == "nano" else limit,
            )  # fmt: skip
        finally:
            self._memory.look()  # server and load client are at their largest
            if self._load:
                self._load.close()
        self.save()
        return self.points

    def table(self):
        """The points of the sweep as a data frame."""
        import pandas as pd

        rows = [
            {"concurrency": p.concurrency, "output tok/s": p.output_tok_s, "TTFT p50 (ms)": p.ttft_ms.p50,
             "TPOT p50 (ms)": p.tpot_ms.p50, "TPOT p99 (ms)": p.tpot_ms.p99, "tok/s per user": p.tok_s_per_user}
            for p in self.points
        ]  # fmt: skip
        return pd.DataFrame(rows).set_index("concurrency").round(1)

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
        self.save("passed", "")
        skipped = sum(contract.state == "skipped" for contract in self.contracts)
        counted = f"{len(self.contracts) - skipped} contracts" + (f" ({skipped} skipped)" if skipped else "")
        return f"{counted}, {len(self.points)} points: {shown(self.folder / 'record.json')}"

    def record(self, state: str = "failed", why: str = UNFINISHED) -> RunRecord:
        """The record of what has been done so far."""
        from helpers.server.logfacts import backends, memory

        log = self.folder / "server.log"
        known = log.exists() and self.server
        served = self.measured
        command = served.command(self.checkpoints[served], self.port) if served in self.checkpoints else None
        return RunRecord(
            target=self.target.target, model=served.model.model, weights=served.weights,
            parameters=recorded_parameters(self.parameters, served), argv=self._public(command.argv) if command else [],
            env=command.env if command else {}, machine=self._machine, versions=getattr(self, "versions", {}),
            commit=self._commit, startup_s=self.server.startup_s if self.server else {},
            memory=(memory(log) if known else {}) | {"peak_gib": round(self._memory.peak_gib, 2)},
            backends=backends(log) if known else {}, replicas=served.parameters.replicas, contracts=self.contracts,
            state=state, why=why, started=self.started, finished=max(self.started, datetime.now(UTC)), throughput=self.points,
        )  # fmt: skip

    def save(self, state: str = "failed", why: str = UNFINISHED) -> None:
        self.record(state, why).write(self.folder / "record.json")

    def _public(self, argv: list[str]) -> list[str]:
        """The argv with paths of this checkout shown relative to it: a record may be published."""
        return [shown(Path(word)) if word.startswith("/") else word for word in argv]


def start(target: str, namespace: Mapping[str, Any]) -> Run:
    """Begin a run from a notebook: `run = start("cpu", globals())` takes the parameters from the notebook.

    Raises `UsageError` for an unknown or ill-typed parameter, also one that papermill only warned about.
    """
    return Run(target, parameters_of(namespace))
