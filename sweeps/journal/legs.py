"""What a trial was trained in: its legs, from the journal alone.

A trial that was paused, promoted, lost or copied was trained in several stretches, each of which
began with fresh generators and a checkpoint. Where an app does not keep its generators in its
checkpoints, its numbers depend on where those stretches were cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sweeps.errors import ConfigError, SweepError
from sweeps.journal.events import Asked, Event, Reported, Started
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.journal.trials import Trial, Trials
from sweeps.storage.folder import SweepFolder

_BY_ITS_TASK = (None, "diverged", "error", "no_metric", "import")
"""What an end is caused by where the task function itself ended the trial."""


@dataclass(frozen=True, kw_only=True)
class Leg:
    """A stretch of training, from a fresh start or a checkpoint up to a report."""

    trial: int
    """Whose seed it has; of a copy (population based training) the first legs are another's."""
    job: str
    """The trial's Hydra job folder then, relative to the sweep's."""
    values: Mapping[str, Any]
    """The parameters by name, as the app saw them."""
    begin: int = 0
    """The step of the checkpoint that it goes on from; 0 is a fresh start."""
    end: int | None = 0
    """The step at whose report it ends; None where it ends by itself."""
    rung: int | None = None
    """From 1, where the fidelity is a parameter: it trains anew, and its best report counts."""
    reports: dict[int, Mapping[str, float]] = field(default_factory=dict)
    """What it reported then: metrics by step."""


def legs_of(
    events: Iterable[Event], folder: SweepFolder, objective: Objective, number: int
) -> list[Leg]:
    """The legs of what a trial has become, first to last.

    Raises:
        ConfigError: There is no such trial.
        SweepError: It has neither reported nor ended.
    """
    histories = _Histories(folder, objective)
    for event in events:
        histories.apply(event)
    check_trial(folder, histories.trials, number)
    trial, legs = histories.trials[number], histories.legs[number]
    if _ended_by_itself(trial):
        return [*legs[:-1], replace(legs[-1], end=None)]
    done = [leg for leg in legs if leg.rung is not None or leg.end != leg.begin]
    if not done:
        raise SweepError(f"trial {number} of {folder.place} has reported nothing to compare with")
    return done


def check_trial(folder: SweepFolder, trials: Trials, number: int) -> None:
    """See that there is such a trial.

    Raises:
        ConfigError: There is not.
    """
    if not 0 <= number < len(trials):
        there = f"it has trials 0 to {len(trials) - 1}" if len(trials) else "it has none yet"
        raise ConfigError(f"{folder.place} has no trial {number}: {there}")


def straightened(legs: Sequence[Leg]) -> list[Leg]:
    """The same training without pauses: one leg for as long as nothing but time passed.

    Legs at different rungs stay apart where each trains anew; of those only the last is kept.
    """
    if legs[-1].rung is not None:
        return [legs[-1]]
    joined = [legs[0]]
    for leg in legs[1:]:
        if leg.values == joined[-1].values:
            before = joined[-1]
            both = {**before.reports, **leg.reports}
            joined[-1] = replace(leg, begin=before.begin, reports=both)
        else:
            joined.append(leg)
    return joined


class _Histories:
    """By trial: the legs that led to its present model, folded from the events."""

    def __init__(self, folder: SweepFolder, objective: Objective) -> None:
        self.trials = Trials(objective)
        self.legs: dict[int, list[Leg]] = {}
        self._folder = folder

    def apply(self, event: Event) -> None:
        """Fold one event in."""
        self.trials.apply(event)
        match event:
            case Asked():
                self.legs[event.trial] = [self._leg(event.trial, 0)]
            case Started():
                self.legs[event.trial] = [*self._before(event), self._next(event)]
            case Reported():
                self._on_reported(event)

    def _before(self, event: Started) -> list[Leg]:
        """The legs whose result a segment goes on from."""
        legs = self.legs[event.trial if event.source is None else event.source]
        at_rungs = [leg for leg in legs if leg.rung is not None]
        return at_rungs or _cut(legs, _step(event))

    def _next(self, event: Started) -> Leg:
        at_rungs = any(leg.rung is not None for leg in self.legs[event.trial])
        return self._leg(event.trial, 0 if at_rungs else _step(event))

    def _leg(self, number: int, begin: int) -> Leg:
        trial = self.trials[number]
        job = self._folder.job(
            number, trial.run, exploits=len(trial.lineage), life=self.trials.life(trial)
        )
        return Leg(
            trial=number,
            job=self._folder.relative(job),
            values=self.trials.values(trial),
            begin=begin,
            end=begin,
        )

    def _on_reported(self, event: Reported) -> None:
        legs = self.legs[event.trial]
        last = replace(legs[-1], end=event.step)
        last.reports[event.step] = event.metrics
        if event.fidelity is not None:
            last = replace(last, end=None, rung=event.step, job=f"{last.job}/rung-{event.step}")
        legs[-1] = last


def _step(event: Started) -> int:
    """The step of the checkpoint that a segment goes on from; checkpoints are called by it."""
    return 0 if event.checkpoint is None else int(event.checkpoint.rpartition("/")[2])


def _cut(legs: Sequence[Leg], step: int) -> list[Leg]:
    """The legs up to a step: what was trained beyond the checkpoint was lost."""
    kept = [leg for leg in legs if leg.begin < step]
    if not kept:
        return []
    reports = {at: metrics for at, metrics in kept[-1].reports.items() if at <= step}
    return [*kept[:-1], replace(kept[-1], end=step, reports=reports)]


def _ended_by_itself(trial: Trial) -> bool:
    decided = trial.last is not None and trial.last.decision is not Decision.CONTINUE
    over = trial.status in (Status.COMPLETE, Status.DIVERGED, Status.FAILED)
    return over and not decided and trial.cause in _BY_ITS_TASK
