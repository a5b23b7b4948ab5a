"""Which configuration comes next: optuna underneath, asked and told, with its journal beside the study."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.errors import CookbookError
from helpers.recipes.tuning import Knob, Values, product

SEED = 5
REPEATS = 200  # proposals in a row that were all measured before: the search has nothing new


class Search:
    """Proposals out of a space, the next depending on what was told about the earlier ones.

    A grid tries every combination in the order of the space; otherwise TPE proposes, after the configurations
    of `first`, or vLLM's own defaults where there are none. What was asked and told is in `journal`: opened
    again, the search goes on there.
    """

    def __init__(self, knobs: Mapping[str, Knob], journal: Path, grid: bool, first: Sequence[Values] = ()):
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.knobs = knobs
        mended(journal)
        storage = JournalStorage(JournalFileBackend(str(journal)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=SEED, multivariate=True, n_startup_trials=8)
        try:
            self.study = optuna.create_study(
                storage=storage, sampler=sampler, study_name="tuning", direction="maximize", load_if_exists=True
            )
        except (ValueError, KeyError) as error:
            raise CookbookError(f"{journal.name} is no journal of a search", str(error), "tune with --fresh") from None
        self.states = optuna.trial.TrialState
        self.spread = {
            name: optuna.distributions.CategoricalDistribution([json.dumps(value) for value in knob.values])
            for name, knob in knobs.items()
        }
        defaults = {name: knob.values[0] for name, knob in knobs.items()}
        queue = product(dict(knobs)) if grid else [defaults | values for values in first or [{}]]
        self.size = len(queue) if grid else None
        if not self.study.trials:
            for values in queue:
                self._queue(values)
        for trial in self.study.get_trials(states=(self.states.RUNNING,)):  # the call before was cut off in it
            self.study.tell(trial.number, state=self.states.FAIL)
            if set(trial.params) == set(knobs):
                self._queue({name: json.loads(text) for name, text in trial.params.items()})

    def proposals(self) -> Iterator[tuple[Values, Any]]:
        """(values, a token for `tell`), until a grid is through or nothing new comes."""
        while True:
            waiting = self.study.get_trials(deepcopy=False, states=(self.states.WAITING,))
            if self.size is not None and not waiting:
                return
            trial = self.study.ask(self.spread)
            yield {name: json.loads(trial.params[name]) for name in self.knobs}, trial

    def tell(self, trial: Any, score: float) -> None:
        """What a proposal was worth; more is better."""
        self.study.tell(trial, score)

    def _queue(self, values: Values) -> None:
        self.study.enqueue_trial({name: json.dumps(value) for name, value in values.items()})


def mended(journal: Path) -> None:
    """Take away what a killed process left: half a last line, and the journal's lock.

    The caller holds the study's folder alone, so no living process owns either.
    """
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)
    if journal.exists():
        content = journal.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            journal.write_bytes(whole)
