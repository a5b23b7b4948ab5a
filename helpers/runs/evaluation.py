"""A run of evaluations on a target, step by step: its server, what it will take, the samples, the table, the record."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helpers.checks import Contract
from helpers.checks.known_answers import Gate, run_quick
from helpers.checks.served import Preflight
from helpers.doctor import with_log
from helpers.errors import CookbookError, UsageError
from helpers.evals import Plan, Result, evaluate, preflight
from helpers.evals.catalogue import EMBEDDED_NAMES, QUICK, SEEDS
from helpers.evals.estimate import Estimate, estimate
from helpers.evals.evaluation import folder_for, settings
from helpers.evals.preflight import need_served
from helpers.evals.record import FOLDER, EvalRecord
from helpers.machine import facts
from helpers.paths import CACHE, RUNS, shown
from helpers.recipes import NANO, check_parameters, load_model, load_target
from helpers.recipes.command.serve import Command
from helpers.server import free_port, print_phase
from helpers.server.replicas import VLLM, Replicas, launch_vllm
from helpers.server.serving import Serving, recorded_server

NANO_CONCURRENCY = 8  # requests in flight that two cores serve best


class EvalRun:
    """One run. `base_url` names a server that runs already; without it the recipe's own is launched and stopped.

    Raises `UsageError` for an unknown evaluation, effort, model or parameter, before anything is started.
    """

    def __init__(
        self,
        target: str,
        model: str = "",
        evals: list[str] | None = None,
        efforts: list[str] | None = None,
        *,
        weights: str = "",
        base_url: str = "",
        tensor_parallel_size: int = 0,
        port: int = 0,
        **options: Any,
    ):
        self.target = load_target(target)
        profile = "evals" if "evals" in self.target.serve.profiles else self.target.defaults.profile
        given: dict[str, Any] = {"model": model or self.target.defaults.model, "port": port, "profile": profile}
        given |= {"weights": weights} if weights else {}
        offered = self.target.models.get(given["model"])
        if profile == "evals" and offered:  # the deployment that the profile describes: the whole host
            given["tensor_parallel_size"] = tensor_parallel_size or max(offered.tensor_parallel_size)
        elif tensor_parallel_size:
            given["tensor_parallel_size"] = tensor_parallel_size
        self.parameters = check_parameters(self.target, given)
        if self.parameters.weights == "synthetic":
            raise UsageError(
                "synthetic weights have no accuracy", why="they are random", do="pass --weights hub or a path"
            )
        self.model = load_model(self.parameters.model)
        self.serving = Serving(self.target, self.parameters, self.model)
        names = evals or list(EMBEDDED_NAMES if self.model.model == NANO else SEEDS)
        self.quick_asked = QUICK in names
        names = [name for name in names if name != QUICK]
        if self.model.model == NANO:
            options.setdefault("concurrency", NANO_CONCURRENCY)
        self.plan = checked_plan(
            target=target,
            model=self.model.model,
            weights=self.serving.weights,
            evals=names or list(EMBEDDED_NAMES),
            efforts=efforts or ["low", "medium", "high"],
            **options,
        )
        self.nothing_but_quick = not names
        self.base_url = need_served(base_url) if base_url else ""
        self.port = self.parameters.port or free_port()
        self.server: VLLM | Replicas | None = None
        self.commands: list[Command] = []
        self.version, self.results = "unknown", []
        self.started = datetime.now(UTC)
        self.folder: Path | None = None
        self._machine, self._commit = facts.machine(), facts.commit()

    @property
    def log(self) -> Path:
        """The log of the server that this run launches, where `cookbook doctor` looks."""
        return RUNS / "eval-servers" / str(self.port) / "server.log"

    @property
    def gpus(self) -> int:
        """Devices that the speed of the whole deployment counts."""
        return self.parameters.tensor_parallel_size if self.target.match.vendor != "cpu" else 1

    def estimate(self) -> list[Estimate]:
        """Samples, tokens and time of every evaluation, before anything is started."""
        return estimate(self.plan, self.gpus)

    def serve(self, report: Callable[[str, float, str], None] = print_phase) -> str:
        """Launch the recipe's server (or attach to the one that runs with the same command); its address."""
        if self.base_url:
            return self.base_url
        from helpers.machine.stack import ensure
        from helpers.server.weights import checkpoint

        interpreter = ensure(self.target.stack.install)
        found = checkpoint(self.serving, interpreter, CACHE / "models")
        self.commands = self.serving.replicas(self.serving.command(found, self.port))
        self.server = launch_vllm(
            self.commands,
            interpreter,
            port=self.port,
            log=self.log,
            target=self.target.target,
            checkpoint=found,
            report=report,
        )
        self.commands = self.server.commands
        self.base_url = self.server.base_url + "/v1"
        return self.base_url

    def preflight(self, offline: bool = False) -> Preflight:
        """What must hold before the first sample is asked; `raise_if_failed` ends the run."""
        found = preflight(self.base_url, self.plan, offline)
        self.version = found.version
        return found

    def quick(self) -> Gate:
        """The gate of known answers."""
        return run_quick(self.base_url, self.model.model)

    def scorer(self) -> Path:
        """The Python of the evaluations' stack, installed unless it is there."""
        from helpers.machine.stack import ensure

        return ensure("evals", report=lambda line: print(line, file=sys.stderr))

    def run(
        self, folder: Path | None = None, fresh: bool = False, progress: Callable[[str], None] | None = None
    ) -> list[Result]:
        """Ask what is missing. Goes on with the newest unfinished run of the same settings, unless `fresh`."""
        report = progress or (lambda line: print(line, file=sys.stderr))
        if folder is None:
            folder, goes_on = folder_for(self.plan, self.version, fresh=fresh, report=report)
            if goes_on:
                report(f"going on with {shown(folder)}")
        elif fresh and (Path(folder) / "settings.json").exists():
            raise UsageError(
                f"{shown(Path(folder))} holds a run already", do="pass another --run-dir with --fresh, or none"
            )
        self.folder = Path(folder)
        scores = self.model.evals
        references = {
            (name, effort): value / 100 for name in SEEDS if scores for effort, value in getattr(scores, name).items()
        }
        self.results = evaluate(
            self.base_url,
            self.plan,
            self.folder,
            self.scorer(),
            version=self.version,
            references=references,
            tolerance=scores.tolerance_points / 100 if scores else None,
            progress=progress,
        )
        self.record().write(self.folder / "record.json")
        return self.results

    def record(self) -> EvalRecord:
        """The results with everything they depend on."""
        from helpers.machine.stack.environment import pinned
        from helpers.paths import LOCKS

        versions = {"vllm": self.version, "gpt-oss": pinned(LOCKS / "evals.txt", "gpt-oss")}
        named = ("target", "model", "weights")
        ran = recorded_server(self.commands, self.server, self.log)
        kept = {key: value for key, value in settings(self.plan, self.version).items() if key not in named}
        return EvalRecord(
            target=self.plan.target,
            model=self.plan.model,
            weights=self.plan.weights,
            settings=kept | {"concurrency": self.plan.concurrency},
            versions=versions,
            machine=self._machine,
            commit=self._commit,
            **{name: ran[name] for name in ("argv", "env", "servers") if name in ran},
            started=self.started,
            finished=datetime.now(UTC),
            results=self.results,
        )

    def check(self, contract: Contract) -> None:
        """Print a contract's line; raises `ContractBroken` when it does not hold."""
        print(contract.line())
        contract.raise_if_broken()

    def publish(self) -> Path:
        """Keep the record among the repository's, `recipes/records/evals/<target>/`; only one with a score."""
        record = self.record()
        if not any(result.score is not None for result in record.results):
            raise CookbookError("the run is not put on record", why="it has no score")
        return record.write(FOLDER / self.plan.target / record.name)

    def figure(self):
        """Score and tokens against effort, saved beside the samples as `evals.png`."""
        from helpers.plots.evals import evals_figure

        figure = evals_figure(self.results, title=f"{self.model.title} on {self.target.title}")
        figure.savefig(self.folder / "evals.png")
        return figure

    def with_log(self, error: CookbookError) -> CookbookError:
        """The error with the log of the server that this run launched; as it is where it launched none."""
        return with_log(error, self.server.log, died=not self.server.healthy()) if self.server else error

    def stop(self) -> str:
        """Stop the server that this run launched (it goes on while others use it)."""
        return self.server.stop() if self.server else "the server was not started here"


def checked_plan(**values: Any) -> Plan:
    """The plan, or one `UsageError` that names every fault."""
    from pydantic import ValidationError

    try:
        return Plan(**values)
    except ValidationError as error:
        faults = [
            f"{item['loc'][0] if item['loc'] else 'plan'}: given {item['input']!r}; {item['msg']}"
            for item in error.errors(include_url=False)
        ]
        raise UsageError(f"{len(faults)} fault(s) in what to evaluate: " + " | ".join(faults)) from None
