"""The search itself: baseline first, one start for each distinct command, every result on file at once."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from helpers import files
from helpers.bench.sweep import Load
from helpers.bench.tune.choice import chosen, together, verdicts
from helpers.bench.tune.measurement import Measured
from helpers.bench.tune.plan import Proposal, TuningPlan, Values, digest, label
from helpers.bench.tune.study import BARE, Study, Trial, TunerCall, one_line
from helpers.errors import CookbookError, UsageError
from helpers.paths import ROOT, RUNS, shown
from helpers.records.record import MachineRecord
from helpers.server import free_port, leases, stop
from helpers.server.serving import public

Measure = Callable[[Proposal, list[Load], Path], Measured]


class Tuner:
    """One study in one folder. `run` goes on where an earlier call stopped, however that ended."""

    def __init__(
        self,
        plan: TuningPlan,
        measure: Measure,
        *,
        machine: MachineRecord,
        versions: dict[str, str],
        commit: str,
        checkpoint: str,
        folder: Path | None = None,
        fresh: bool = False,
        report: Callable[[str], None] = print,
    ):
        self.plan, self.measure, self.report, self.checkpoint = plan, measure, report, checkpoint
        document = plan.document() | {"machine": machine, "versions": versions}
        mark = digest({**document, "machine": machine.model_dump(), "checkpoint": Path(checkpoint).name})
        objective = plan.objective.name
        place = RUNS / "tuning" / f"{plan.target.target}-{plan.model.model}-{objective}-{mark}"
        self.folder = Path(folder or place).resolve()
        self.fresh, self._held = fresh, False
        self.study = Study(**document, commit=commit, fingerprint=mark)

    @property
    def file(self) -> Path:
        return self.folder / "study.json"

    def run(self, trials: int | None = None, minutes: float | None = None) -> Study:
        """Measure until every candidate is through, `trials` servers were started, or `minutes` are over.

        Both bounds count configurations, not the baseline; `trials` counts those of earlier calls too. No
        configuration begins after the minutes, one that has begun is finished.
        """
        deadline = None if minutes is None else time.monotonic() + 60 * minutes
        with self.alone():
            self._settle()
            self._open()
            call = TunerCall(started=datetime.now(UTC).replace(microsecond=0))
            self.study.calls.append(call)
            try:
                if self.study.baseline is None:
                    self._baseline(call)
                call.ended = self._search(call, trials, deadline)
            finally:
                call.finished = datetime.now(UTC).replace(microsecond=0)
                won = chosen(self.study) if self.study.baseline else None
                self.study.chosen = won.trial.name if won else None
                self._save()
        return self.study

    def _search(self, call: TunerCall, limit: int | None, deadline: float | None) -> str:
        """Try the candidates in their order, an equal command once; returns what ended it."""
        last = len(self.plan.candidates) + (not self.plan.grid)
        local = Path(self.checkpoint) if os.path.isdir(self.checkpoint) else None  # else a hub's
        for values in self._candidates():
            proposal = self.plan.proposal(values, self.checkpoint, free_port())
            name = proposal.identity(local)
            if self.study.trial(name):
                continue
            if limit is not None and len(self.study.trials) >= limit:
                return f"{limit} configurations were tried"
            if deadline is not None and time.monotonic() > deadline:
                return "the minutes were over"
            self.report(f"[{len(self.study.trials) + 1}/{min(limit or last, last)}] {label(values)}")
            trial = self._measured(name, proposal, call)
            self.study.trials.append(trial)
            self._save()
            if trial.state == "failed":
                self.report(f"  failed: {one_line(trial.cause)}")
        return f"every {'combination' if self.plan.grid else 'candidate'} was tried"

    def _candidates(self) -> Iterator[Values]:
        """The plan's candidates; for a list, at the end the values that helped alone, together."""
        yield from self.plan.candidates
        if not self.plan.grid:
            yield together(verdicts(self.study), self.plan.defaults)

    def _baseline(self, call: TunerCall) -> None:
        self.report("[bare] vllm serve " + self.plan.model.model)
        trial = self._measured(BARE, self.plan.bare(self.checkpoint, free_port()), call)
        if trial.state == "failed":
            raise CookbookError(
                "bare `vllm serve` could not be measured, so there is nothing to compare with",
                one_line(trial.cause),
                f"see `cookbook doctor {shown(self.folder / BARE / 'server.log')}`",
            )
        self.study.baseline = trial
        self._save()

    def _measured(self, name: str, proposal: Proposal, call: TunerCall) -> Trial:
        found = self.measure(proposal, self.plan.loads(proposal.gpus), self.folder / name)
        call.starts += 1
        return Trial(
            name=name,
            values=proposal.values,
            argv=public(proposal.command.argv),
            env=proposal.command.env,
            gpus=proposal.gpus,
            state="failed" if found.cause else "measured",
            cause=found.cause.replace(f"{ROOT}/", "").strip(),
            points=found.points,
            startup_s=found.startup_s,
            backends=found.backends,
            memory=found.memory,
            started=found.started,
            finished=found.finished,
        )

    def _open(self) -> None:
        """Take up the study that is there, put it aside (`fresh`), or begin one."""
        if self.fresh and any(self.file.parent.glob("s*")):
            number = 1
            while (aside := self.folder / f"earlier-{number}").exists():
                number += 1
            entries = [e for e in self.folder.iterdir() if e.name != "lock" and not e.name.startswith("earlier-")]
            aside.mkdir()
            for entry in entries:
                os.replace(entry, aside / entry.name)
        if not self.file.exists():
            return
        before = Study.read(self.file)
        if before.fingerprint != self.study.fingerprint:
            raise UsageError(
                f"{shown(self.folder)} holds another study ({before.target}, {before.model}, {before.goal})",
                why="its space, sweep, machine or vLLM differs from this call's",
                do="name another --study folder, or pass --fresh",
            )
        self.study = before
        self.report(f"going on: {len(before.trials)} configurations are on file in {shown(self.folder)}")

    def _save(self) -> None:
        self.study.write(self.file)

    def _settle(self) -> None:
        """End what a call that was killed left running: the next server needs its memory, and the measured one its peace."""
        for lease in leases():
            if Path(lease.log).is_relative_to(self.folder.resolve()):
                stop(lease)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder, unless it is held already: two tuners in it would measure each other."""
        if self._held:
            yield
            return
        busy = UsageError(f"another `cookbook tune` works in {shown(self.folder)}", do="wait for it")
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(files.alone(self.folder / "lock", busy=busy))
            except OSError as error:
                raise UsageError(
                    f"{shown(self.folder)} cannot be written",
                    why=error.strerror or "",
                    do="name another --study folder",
                ) from None
            self._held = True
            held.callback(setattr, self, "_held", False)
            yield
