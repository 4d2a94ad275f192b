"""Keeps `best/experiment.yaml` with the best trial while a sweep runs, behind the decisions' back.

with BestExperiment(plan) as follow:
    ...  # the engine calls follow(event, trials)
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from omegaconf import open_dict

from cluster.bucket import BucketError
from sweeps.errors import ConfigError, SweepError
from sweeps.experiment import Experiment, make_experiment
from sweeps.experiment.command import command_line, config_options
from sweeps.experiment.trial import title_of, write_best
from sweeps.journal.events import Event
from sweeps.journal.pareto import leader
from sweeps.journal.trials import Trial, Trials
from sweeps.planning.compose import COMPOSING, Composer, apply
from sweeps.planning.plan import Plan
from sweeps.rerun.config import Recorded
from sweeps.results import SweepResults

log = logging.getLogger(__name__)

_EVERY_S = 10.0
_SHARE = 20
"""Between two looks it rests so many times as long as the last one took."""


class BestExperiment:
    """An engine's listener, and a thread that writes; a context manager.

    The decisions' thread does nothing for it: the thread looks now and then who leads, and composes
    and writes where that is another trial, or one with other parameters, than last time. What
    cannot be composed or written is told in the log once; no sweep ends for it.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        check: Callable[[], None] = lambda: None,
        every_s: float | None = None,
    ) -> None:
        """Begin with nothing.

        Args:
            plan: The sweep's.
            check: Raises SweepError where another driver writes the sweep now.
            every_s: The least time between two looks; 10 by default.
        """
        self._check = check
        self._writer = Writer(plan)
        self._every_s = _EVERY_S if every_s is None else every_s
        self._trials: Trials | None = None
        self._told = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="best experiment", daemon=True)

    def __enter__(self) -> Self:
        if self._writer.follows:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the thread. What is not written by then is written when the sweep is handed back."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def __call__(self, event: Event, trials: Trials) -> None:
        """Note where the trials are."""
        self._trials = trials

    def _run(self) -> None:
        rest = self._every_s
        while not self._over.wait(rest):
            began = time.monotonic()
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the sweep goes on
                self._tell(error)
            rest = max(self._every_s, _SHARE * (time.monotonic() - began))

    def _look(self) -> None:
        trials = self._trials
        best = None if trials is None else self._writer.best(trials)
        if trials is not None and best is not None and self._writer.is_news(best):
            self._check()
            self._writer.write(trials, best)

    def _tell(self, error: Exception) -> None:
        if not self._told:
            log.warning("%s is not up to date: %s", self._writer.file, error)
        self._told = True


@dataclass(frozen=True, kw_only=True)
class Again:
    """What runs a sweep's best trial again, or why nothing is known to."""

    command: str | None = None
    secrets: tuple[str, ...] = ()
    """Keys that are to be given besides."""
    failure: str | None = None


def run_again(plan: Plan, sweep: SweepResults) -> Again | None:
    """Write the best trial of a sweep that is handed back; None where it has none."""
    if sweep.best is None:
        return None
    writer = Writer(plan)
    try:
        experiment = writer.write(sweep.trials, sweep.best)
    except (ConfigError, SweepError, BucketError) as error:
        log.warning("%s is not up to date: %s", writer.file, error)
        return Again(failure=str(error))
    return Again(command=writer.command(experiment), secrets=experiment.secrets)


class Writer:
    """Writes a sweep's best trial as an experiment file; composes where its parameters are new."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._composers: dict[int, Composer] = {}
        self._composed: tuple[object, Experiment] | None = None
        self._written: object = None

    @property
    def follows(self) -> bool:
        """Whether there is such a file: a retest, whose trials are its roster's, has none."""
        return not self._plan.folder.roster.exists()

    @property
    def file(self) -> str:
        """Where a user finds it."""
        return self._plan.folder.shown(self._plan.folder.best_experiment)

    def best(self, trials: Trials) -> Trial | None:
        """Who leads; of several objectives, whom the scalarization takes from the front."""
        settings = self._plan.settings
        return leader(trials, settings.objective, settings.scalarization)

    def is_news(self, trial: Trial) -> bool:
        """Whether the file says otherwise."""
        return bool(self._written != (_identity(trial), trial.value))

    def write(self, trials: Trials, trial: Trial) -> Experiment:
        """Write a trial.

        Raises:
            SweepError: The app does not compose it to the trial's config, or it cannot be written.
            ConfigError: The trial's own config cannot be composed any more.
            BucketError: The bucket does not take it.
        """
        identity, value = _identity(trial), trial.value
        if self._composed is None or self._composed[0] != identity:
            self._composed = identity, self._compose(trials, trial)
        experiment, folder = self._composed[1], self._plan.folder
        settings = self._plan.settings
        title = title_of(trial, folder.name, settings.objective, repeats=settings.repeats)
        write_best(folder, experiment, title=title, command=self.command(experiment))
        self._written = identity, value
        return experiment

    def command(self, experiment: Experiment) -> str:
        """What runs the app with it; of a sweep in a bucket, what fetches it."""
        folder = self._plan.folder
        if folder.remote is not None:
            return f"caviar results {folder.place} --experiment experiment/best.yaml"
        return command_line(self._plan.app, experiment)

    def _compose(self, trials: Trials, trial: Trial) -> Experiment:
        plan, composer = self._plan, self._composer(trials, trial.study)
        values = trials.values(trial, trial.best_params)
        fidelity = None if trial.best is None else trial.best.fidelity
        repeat = {} if plan.repeating is None else plan.repeating.settings(0)
        patch = composer.patch(values, also={**plan.at_fidelity(fidelity), **repeat})
        config = apply(composer.base(values), patch, job_num=trial.number, job_id=str(trial.number))
        with open_dict(config):
            hydra = config.pop("hydra")
        return make_experiment(
            Recorded(config=config, hydra=hydra),
            plan.search_path,
            plan.folder.best_experiment,
            options=config_options(plan.app.argv),
        )

    def _composer(self, trials: Trials, study: int) -> Composer:
        """One of its own: the decisions' thread uses the plan's."""
        if study not in self._composers:
            with COMPOSING:
                space = trials.spaces[study]
                self._composers[study] = self._plan.composer.over(self._plan.fixed, space)
        return self._composers[study]


def _identity(trial: Trial) -> tuple[int, str, float | None]:
    """What another config comes with."""
    fidelity = None if trial.best is None else trial.best.fidelity
    return trial.number, repr(trial.best_params), fidelity
