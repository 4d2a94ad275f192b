"""What there is to show of each trial: the sweep's events as points of runs. It knows no tracker.

A report is a point at its own step. Where a scheduler changes parameters on the way, the next point
carries the new ones too, as `params/NAME`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sweeps.errors import headline
from sweeps.journal.events import Asked, Closed, Created, Ended, Event, Opened, Reported, Started
from sweeps.journal.objective import Objective
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.results import SweepResults
from sweeps.secrets import MASK, is_secret
from sweeps.tracking.tracker import Ending, Point, Run, shown


@dataclass(kw_only=True)
class _Points:
    """A trial's points that are not yet shown."""

    kept: list[Point] = field(default_factory=list)
    shown: int = 0
    """So many came before these."""
    top: int | None = None
    """The highest step so far."""
    names: set[str] = field(default_factory=set)
    """The metrics that were reported."""
    changed: Mapping[str, float] = field(default_factory=dict)
    """Parameters to go with the next point."""

    @property
    def count(self) -> int:
        return self.shown + len(self.kept)

    def add(self, point: Point) -> None:
        repeats = self.top is not None and point.step <= self.top
        if self.changed and not repeats:
            point = replace(point, metrics={**point.metrics, **self.changed})
            self.changed = {}
        self.top = point.step if self.top is None else max(self.top, point.step)
        self.names.update(point.metrics)
        self.kept.append(replace(point, repeats=repeats))

    def drop(self, until: int) -> None:
        """Forget what is shown."""
        passed = min(max(0, until - self.shown), len(self.kept))
        del self.kept[:passed]
        self.shown += passed


class Runs:
    """Every trial as a run. Events come in from one thread, and another takes what is new."""

    def __init__(self, sweep: SweepResults) -> None:
        self._sweep = sweep
        self._trials = sweep.trials
        self._points: list[_Points] = []
        self._began: list[Mapping[str, Any]] = []
        self._touched: dict[int, None] = {}
        self._lock = threading.Lock()
        self.created: float | None = None
        """When the sweep was; none before its first event."""

    @property
    def objective(self) -> Objective:
        """What the sweep optimizes."""
        return self._trials.objective

    def apply(self, event: Event) -> None:
        """Take an event in."""
        with self._lock:
            self._trials.apply(event)
            match event:
                case Created():
                    self.created = self._trials.created
                case Opened() | Closed():
                    live = self._trials.with_status(Status.RUNNING, Status.PAUSED)
                    self._touched.update(dict.fromkeys(trial.number for trial in live))
                case Asked():
                    self._points.append(_Points())
                    self._began.append(self._params(self._trials[event.trial], event.params))
                    self._touched[event.trial] = None
                case Started() | Reported() | Ended():
                    self._on_trial(event)
                    self._touched[event.trial] = None

    def _on_trial(self, event: Started | Reported | Ended) -> None:
        points = self._points[event.trial]
        match event:
            case Started(params=dict() as params):
                values = self._params(self._trials[event.trial], params)
                points.changed = {
                    f"params/{name}": float(value)
                    for name, value in values.items()
                    if isinstance(value, int | float)
                }
            case Reported():
                points.add(Point(step=event.step, time=event.time, metrics=event.metrics))
            case Ended():
                new = {k: v for k, v in event.metrics.items() if k not in points.names}
                if new:
                    step = self._trials[event.trial].step
                    points.add(Point(step=step, time=event.time, metrics=new, returned=True))

    def touch(self, trial: int) -> None:
        """Let a trial be taken again."""
        with self._lock:
            self._touched[trial] = None

    def take(self) -> int | None:
        """A trial that something happened to since it was last taken; None without any."""
        with self._lock:
            for trial in self._touched:
                del self._touched[trial]
                return trial
        return None

    def look(self, trial: int, sent: int) -> tuple[Run, list[Point]]:
        """Where a trial stands, and its points after those that were sent."""
        with self._lock:
            self._points[trial].drop(sent)
            return self._run(self._trials[trial]), list(self._points[trial].kept)

    @property
    def left(self) -> tuple[int, int]:
        """How many trials are to be taken, and how many points they have that are not shown."""
        with self._lock:
            return len(self._touched), sum(len(self._points[n].kept) for n in self._touched)

    @property
    def ending(self) -> Ending | None:
        """How the sweep ended, if it did so in order."""
        with self._lock:
            closed, best = self._trials.closed, self._sweep.best
            if closed is None:
                return None
            return Ending(
                is_done=closed.reason == "done",
                time=closed.time,
                trials=len(self._trials),
                best_trial=None if best is None else best.number,
                values={} if best is None else self._values(best),
            )

    def _run(self, trial: Trial) -> Run:
        status = self._sweep.status(trial)
        return Run(
            number=trial.number,
            params=self._began[trial.number],
            status=status,
            started=trial.started,
            ended=trial.last.time if trial.ended is None and trial.last else trial.ended,
            step=trial.step,
            best_step=trial.best.step if trial.best else None,
            values={} if status in (Status.FAILED, Status.DIVERGED) else self._values(trial),
            best_params=self._params(trial, trial.best_params) if trial.lineage else {},
            cause=trial.cause,
            error=headline(trial.error),
        )

    def _values(self, trial: Trial) -> dict[str, float]:
        values = trial.values or (() if trial.value is None else (trial.value,))
        return dict(zip((o.metric for o in self.objective.all), values, strict=False))

    def _params(self, trial: Trial, params: Mapping[str, Any]) -> dict[str, Any]:
        values = self._trials.values(trial, params)
        return {k: MASK if is_secret(k) else shown(v) for k, v in values.items()}
