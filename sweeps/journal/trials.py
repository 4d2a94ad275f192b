"""What a journal says: every trial's state, folded from the events one at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeps.journal.events import (
    Asked,
    Closed,
    Created,
    Ended,
    Event,
    Lost,
    Opened,
    Reported,
    Requested,
    Started,
)
from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision, Status
from sweeps.journal.steered import Steered
from sweeps.space.space import Space


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part of what a model was trained with: up to the next stretch, or its end."""

    step: int
    """The step after which it begins."""
    trial: int
    """Which trial trained it."""
    params: Mapping[str, Any]


@dataclass(kw_only=True)
class Trial:
    """One configuration and all that is known of it."""

    number: int
    params: Mapping[str, Any]
    """Optuna's external values by Optuna's parameter name."""
    run: int
    """The driver under which its current or last segment began."""
    started: float
    study: int = 0
    """Which of the sweep's spaces it was drawn from."""
    status: Status = Status.RUNNING
    reports: dict[int, Reported] = field(default_factory=dict)
    """By step; a step that was trained again holds its last report."""
    replaced: list[Reported] = field(default_factory=list)
    """Reports of steps that were trained again from another trial's checkpoint."""
    earlier: dict[int, Reported] = field(default_factory=dict)
    """Of `reports` those from before it last went on from another trial's checkpoint."""
    last: Reported | None = None
    """The report that came last; after a crash its step may be below the highest."""
    best: Reported | None = None
    """The report with the best objective."""
    best_params: Mapping[str, Any] = field(default_factory=dict)
    """What its parameters were then: they change where a scheduler exploits another trial."""
    best_schedule: tuple[Stretch, ...] = ()
    """What that model was trained with, from its first step on."""
    best_checkpoint: str | None = None
    """That report's; where it has none, the newest since, until other parameters came."""
    lineage: list[Started] = field(default_factory=list)
    """Where it went on from another trial's checkpoint, with which parameters."""
    schedule: tuple[Stretch, ...] = ()
    """What its present model was trained with; other trials' stretches first, by lineage."""
    value: float | None = None
    """The best report's objective, or what the task function returned."""
    values: Sequence[float] = ()
    """The value of each objective, in the best report or in what the task function returned."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What the task function returned."""
    checkpoint: str | None = None
    """The newest durable checkpoint, relative to the sweep's folder."""
    checkpoint_step: int = 0
    step: int = 0
    """The highest step reported, or that of another trial's checkpoint that it went on from."""
    promotions: int = 0
    losses: int = 0
    """How often its process or node died under it."""
    memory_losses: int = 0
    """How many of these were because memory ran low."""
    preemptions: int = 0
    """How often its node was taken away under it: nobody's failure."""
    lives: int = 0
    """How often its process or node was lost under its driver; the next segment has a folder of its
    own each time, since one that was cut off may live on where nobody sees it."""
    failures: list[Lost] = field(default_factory=list)
    """Each time its task raised and it was tried again."""
    seconds: float = 0.0
    """How long it has trained, up to its last event: time in a slot, pauses not counted."""
    since: float | None = None
    """In a slot: when its last event was."""
    stopping: bool = False
    """Whether somebody asked that it be stopped."""
    error: str | None = None
    cause: str | None = None
    ended: float | None = None

    @property
    def best_is_here(self) -> bool:
        """Whether its best report came with its present parameters."""
        return self.best_schedule is self.schedule

    def seconds_at(self, now: float) -> float:
        """How long it will have trained at a time, if it trains until then."""
        return self.seconds + (max(0.0, now - self.since) if self.since is not None else 0.0)

    def clock(self, now: float, *, stays: bool) -> None:
        """Count its time in a slot up to now; `stays` says whether it trains on."""
        self.seconds, self.since = self.seconds_at(now), now if stays else None


class Trials:
    """The trials of a sweep, in the order they were asked. Apply events to change it."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.spaces: list[Space] = []
        """What was searched; where it was changed, the last one holds."""
        self.run = 0
        self.created: float | None = None
        self.closed: Closed | None = None
        self.counts: Counter[Status] = Counter()
        self.steps = 0
        """Steps spent over all trials, repeated ones not counted."""
        self.metric_names: set[str] = set()
        self.best: Trial | None = None
        self.steered = Steered()
        """What was asked of the sweep while it ran."""
        self._trials: list[Trial] = []

    def __len__(self) -> int:
        return len(self._trials)

    def __getitem__(self, number: int) -> Trial:
        return self._trials[number]

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials)

    def values(self, trial: Trial, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A trial's parameters as its app sees them, by name; `params` in the place of its own."""
        return self.spaces[trial.study].values(trial.params if params is None else params)

    def life(self, trial: Trial) -> int:
        """How often the trial was lost under this driver."""
        return trial.lives if trial.run == self.run else 0

    def schedule(self, trial: Trial) -> list[tuple[int, dict[str, Any]]]:
        """What to train with to get the trial's best model again: (after which step, values).

        One entry unless a scheduler changed parameters on the way (population based training);
        then the entries before its last exploit are those of the trials that it descends from.
        """
        return [(part.step, self.values(trial, part.params)) for part in trial.best_schedule]

    def with_status(self, *statuses: Status) -> list[Trial]:
        """The trials that stand at one of these, by number."""
        return [trial for trial in self._trials if trial.status in statuses]

    def apply(self, event: Event) -> None:
        """Fold one event in."""
        match event:
            case Created():
                self.created = event.time if self.created is None else self.created
                self.spaces.append(Space.from_json(event.space))
            case Opened():
                self._on_opened(event)
            case Requested():
                self._on_requested(event)
            case Closed():
                self.closed = event
            case Asked():
                self._on_asked(event)
            case Started():
                self._on_started(event)
            case Reported():
                self._on_reported(event)
            case Lost():
                self._on_lost(event)
            case Ended():
                self._on_ended(event)

    def _on_opened(self, event: Opened) -> None:
        self.run, self.closed = event.run, None
        self.steered.apply(event)
        for trial in self._trials:
            trial.since = None  # what trained when the last driver died counts up to its last word

    def _on_requested(self, event: Requested) -> None:
        self.steered.apply(event)
        if event.refusal is None and event.trial is not None and "stop" in event.asked:
            self._trials[event.trial].stopping = True

    def _on_asked(self, event: Asked) -> None:
        if event.trial != len(self._trials):
            raise ValueError(f"trial {event.trial} was asked after {len(self._trials)} trials")
        first = Stretch(step=0, trial=event.trial, params=event.params)
        self._trials.append(
            Trial(
                number=event.trial,
                study=event.study,
                params=event.params,
                schedule=(first,),
                best_params=event.params,
                best_schedule=(first,),
                run=event.run,
                started=event.time,
                since=event.time,
            )
        )
        self.counts[Status.RUNNING] += 1

    def _on_started(self, event: Started) -> None:
        trial = self._trials[event.trial]
        trial.lives = trial.lives if trial.run == event.run else 0
        trial.run, trial.since = event.run, event.time
        if event.source is not None:
            self._on_exploit(trial, event)
        trial.promotions += event.reason == "promote"
        self._set_status(trial, Status.RUNNING)

    def _on_exploit(self, trial: Trial, event: Started) -> None:
        assert event.source is not None
        assert event.params is not None
        assert event.step is not None
        if trial.best is not None and trial.best_checkpoint is None:
            self._forget_best(trial)
        inherited = (s for s in self._trials[event.source].schedule if s.step < event.step)
        own = Stretch(step=event.step, trial=trial.number, params=event.params)
        trial.schedule = (*inherited, own)
        trial.params, trial.step = event.params, event.step
        trial.checkpoint, trial.checkpoint_step = event.checkpoint, event.step
        trial.lineage.append(event)
        trial.earlier = dict(trial.reports)

    def _forget_best(self, trial: Trial) -> None:
        """The model of its best report is lost: no checkpoint has it, and it does not go on."""
        trial.best, trial.value = None, None
        if self.best is trial:
            self._find_best()

    def _on_reported(self, event: Reported) -> None:
        trial = self._trials[event.trial]
        trial.clock(event.time, stays=event.decision is not Decision.PAUSE)
        self.steps += max(0, event.step - trial.step)
        trial.step = max(trial.step, event.step)
        if (earlier := trial.earlier.pop(event.step, None)) is not None:
            trial.replaced.append(earlier)
        trial.reports[event.step] = trial.last = event
        if event.checkpoint is not None:
            trial.checkpoint, trial.checkpoint_step = event.checkpoint, event.step
        self.metric_names.update(event.metrics)
        self._note_best(trial, event)
        if event.decision is Decision.PAUSE:
            self._set_status(trial, Status.PAUSED)

    def _note_best(self, trial: Trial, event: Reported) -> None:
        if event.value is not None and self.objective.replaces(event.value, trial.value):
            was, trial.value = trial.value, event.value
            trial.best, trial.best_checkpoint = event, event.checkpoint
            trial.values = self._vector(event.metrics)
            trial.best_params, trial.best_schedule = trial.params, trial.schedule
            if self.best is trial and not self.objective.is_better(event.value, was):
                self._find_best()  # its last report counts, and is worse than the one before
            else:
                self._update_best(trial)
        elif trial.best_is_here and not _names_checkpoint(trial.best):
            trial.best_checkpoint = event.checkpoint or trial.best_checkpoint

    def _vector(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """The value of each objective, or nothing where one is missing or not finite."""
        values = [metrics.get(objective.metric) for objective in self.objective.all]
        if any(value is None or not math.isfinite(value) for value in values):
            return ()
        return tuple(value for value in values if value is not None)

    def _on_lost(self, event: Lost) -> None:
        trial = self._trials[event.trial]
        trial.clock(event.time, stays=False)
        if event.cause == "error":
            trial.failures.append(event)
            return
        trial.lives += 1
        if event.cause == "preempted":
            trial.preemptions += 1
        else:
            trial.losses += 1
            trial.memory_losses += event.cause == "out_of_memory"

    def _on_ended(self, event: Ended) -> None:
        trial = self._trials[event.trial]
        trial.clock(event.time, stays=False)
        trial.metrics, trial.error, trial.cause = event.metrics, event.error, event.cause
        trial.value, trial.ended = event.value, event.time
        if event.status is Status.COMPLETE and event.value is not None:
            trial.values = (event.value, *event.others)
        self.metric_names.update(event.metrics)
        self._set_status(trial, event.status)
        if event.status in (Status.COMPLETE, Status.STOPPED):
            self._update_best(trial)
        elif self.best is trial:
            self._find_best()

    def _set_status(self, trial: Trial, status: Status) -> None:
        self.counts[trial.status] -= 1
        self.counts[status] += 1
        trial.status = status

    def _update_best(self, trial: Trial) -> None:
        """Let it lead if it is better; of equally good ones the first by number leads."""
        if self._rank(trial) < self._rank(self.best):
            self.best = trial

    def _rank(self, trial: Trial | None) -> tuple[float, int]:
        if trial is None or trial.value is None:
            return math.inf, -1  # nothing is before it
        return self.objective.loss(trial.value), trial.number

    def _find_best(self) -> None:
        self.best = None
        for trial in self._trials:
            if trial.status not in (Status.FAILED, Status.DIVERGED):
                self._update_best(trial)


def _names_checkpoint(report: Reported | None) -> bool:
    return report is not None and report.checkpoint is not None
