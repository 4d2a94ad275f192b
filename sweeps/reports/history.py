"""What a sweep had spent, and what its best value was, after each of its reports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from sweeps.journal.objective import Objective
from sweeps.journal.status import Status
from sweeps.journal.trials import Trial
from sweeps.reports.memo import once
from sweeps.results import SweepResults


@dataclass(frozen=True, kw_only=True)
class History:
    """The values that came in, in their order; each list has one entry a value."""

    trials: list[int]
    seconds: list[float]
    """Since the sweep began."""
    steps: list[int]
    """Spent by all trials up to it, repeated ones not counted."""
    values: list[float]
    best: list[float]
    """The best value of all so far."""
    leaders: list[int]
    """Whose that is."""

    def __len__(self) -> int:
        return len(self.values)

    def changes(self) -> list[int]:
        """The places at which the best value changed, and the last one."""
        places = [i for i in range(len(self)) if i == 0 or self.best[i] != self.best[i - 1]]
        return [*places, len(self) - 1] if places else []


@once
def history(sweep: SweepResults) -> History:
    """Every finite value of a trial that neither failed nor diverged."""
    points = list(_values(sweep))
    trials, values = [point[0] for point in points], [point[3] for point in points]
    best, leaders = _incumbents(trials, values, sweep.objective)
    began = _began(sweep)
    return History(
        trials=trials,
        seconds=[max(0.0, time - began) for _, time, _, _ in points],
        steps=[steps for _, _, steps, _ in points],
        values=values,
        best=best,
        leaders=leaders,
    )


def _incumbents(
    trials: Sequence[int], values: Sequence[float], objective: Objective
) -> tuple[list[float], list[int]]:
    """The best value after each value that came in, and the trial that has it."""
    current: dict[int, float] = {}
    leader, best, leaders = -1, [], []
    for trial, value in zip(trials, values, strict=True):
        if objective.replaces(value, current.get(trial)):
            current[trial] = value
            if leader == trial and objective.at == "last":  # it may have got worse
                leader = min(current, key=lambda number: objective.loss(current[number]))
            elif leader < 0 or objective.is_better(value, current[leader]):
                leader = trial
        best.append(current[leader])
        leaders.append(leader)
    return best, leaders


def _began(sweep: SweepResults) -> float:
    first = min((trial.started for trial in sweep.trials), default=0.0)
    return first if sweep.trials.created is None else sweep.trials.created


_Point = tuple[float, int, int | None, float | None, bool]
"""(time, trial, step, value, whether it goes on there from another trial's checkpoint)"""


def _values(sweep: SweepResults) -> Iterator[tuple[int, float, int, float]]:
    """(trial, time, steps spent by then, value), by time."""
    bad = (Status.FAILED, Status.DIVERGED)
    counted = {trial.number for trial in sweep.trials if sweep.status(trial) not in bad}
    points = [point for trial in sweep.trials for point in _points(trial)]
    points.sort(key=itemgetter(0, 1))
    reached: dict[int, int] = {}
    spent = 0
    for time, trial, step, value, exploits in points:
        if step is not None:
            before = reached.get(trial, 0)
            spent += 0 if exploits else max(0, step - before)
            reached[trial] = step if exploits else max(step, before)
        if trial in counted and value is not None and math.isfinite(value):
            yield trial, time, spent, value


def _points(trial: Trial) -> Iterator[_Point]:
    """Each report, or what it returned where it made none."""
    number = trial.number
    for start in trial.lineage:
        yield start.time, number, start.step, None, True
    for report in (*trial.replaced, *trial.reports.values()):
        yield report.time, number, report.step, report.value, False
    if not trial.reports and trial.ended is not None:
        yield trial.ended, number, None, trial.value, False
