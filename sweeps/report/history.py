"""What a sweep had spent, and what its best value was, after each of its reports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.results import SweepResults


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A value that came in."""

    trial: int
    seconds: float
    """Since the sweep began."""
    steps: int
    """Spent by all trials up to it, repeated ones not counted."""
    value: float
    best: float
    """The best value of all so far."""
    leader: int
    """Whose it is."""


def history(sweep: SweepResults) -> list[Moment]:
    """Every finite value of a trial that neither failed nor diverged, in the order they came."""
    objective, began = sweep.objective, _began(sweep)
    current: dict[int, float] = {}
    leader: int | None = None
    moments = []
    for time, steps, trial, value in _values(sweep):
        was = current.get(trial)
        if objective.replaces(value, was):
            current[trial] = value
            leader = _leader(sweep, current, leader, trial)
        if leader is not None:
            moments.append(
                Moment(
                    trial=trial,
                    seconds=max(0.0, time - began),
                    steps=steps,
                    value=value,
                    best=current[leader],
                    leader=leader,
                )
            )
    return moments


def changes(moments: Sequence[Moment]) -> list[Moment]:
    """Those at which the best value changed."""
    return [
        now
        for before, now in zip([None, *moments], moments, strict=False)
        if before is None or now.best != before.best
    ]


def _leader(sweep: SweepResults, current: dict[int, float], leader: int | None, trial: int) -> int:
    loss = sweep.objective.loss
    if leader is None or loss(current[trial]) < loss(current[leader]):
        return trial
    if leader != trial:
        return leader
    return min(current, key=lambda number: loss(current[number]))  # the leader got worse


def _began(sweep: SweepResults) -> float:
    first = min((trial.started for trial in sweep.trials), default=0.0)
    return first if sweep.trials.created is None else sweep.trials.created


@dataclass(frozen=True, kw_only=True)
class _Point:
    time: float
    trial: int
    step: int | None = None
    value: float | None = None
    exploits: bool = False
    """It went on from another trial's checkpoint of this step."""


def _values(sweep: SweepResults) -> Iterator[tuple[float, int, int, float]]:
    """(time, steps spent by then, trial, value), by time."""
    bad = (Status.FAILED, Status.DIVERGED)
    counted = {trial.number for trial in sweep.trials if sweep.status(trial) not in bad}
    points = [point for trial in sweep.trials for point in _points(trial)]
    reached: dict[int, int] = {}
    spent = 0
    for point in sorted(points, key=lambda p: (p.time, p.trial)):
        if point.step is not None:
            before = reached.get(point.trial, 0)
            spent += 0 if point.exploits else max(0, point.step - before)
            reached[point.trial] = point.step if point.exploits else max(point.step, before)
        if point.trial in counted and point.value is not None and math.isfinite(point.value):
            yield point.time, spent, point.trial, point.value


def _points(trial: Trial) -> Iterator[_Point]:
    """Each report, or what it returned where it made none."""
    number = trial.number
    for start in trial.lineage:
        yield _Point(time=start.time, trial=number, step=start.step, exploits=True)
    for report in (*trial.replaced, *trial.reports.values()):
        yield _Point(time=report.time, trial=number, step=report.step, value=report.value)
    if not trial.reports and trial.ended is not None:
        yield _Point(time=trial.ended, trial=number, value=trial.value)
