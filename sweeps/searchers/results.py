"""What trials teach a searcher of our own: their losses by rung, so that like meets like."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.searchers.view import View


@dataclass(frozen=True)
class Result:
    """What is known of a trial so far."""

    number: int
    params: Mapping[str, Any]
    """Optuna's external values by Optuna's name."""
    losses: tuple[float, ...]
    """One for each rung that it reached, less is better: the first report at that step or later.

    Losses at different rungs are not to be compared. Without rungs it is that of a complete trial
    alone; a complete trial that never reported at a rung counts for all of them.
    """
    diverged: bool

    @property
    def rung(self) -> int:
        """How many rungs it reached."""
        return len(self.losses)


class Results:
    """The results of a view, by trial number; `refresh` reads what has changed."""

    def __init__(self, view: View, rungs: Sequence[int]) -> None:
        self._view = view
        self._rungs = sorted(rungs)
        self._sign = -1.0 if view.study.directions[0] is StudyDirection.MAXIMIZE else 1.0
        self._read: dict[int, FrozenTrial] = {}
        self._by_number: dict[int, Result] = {}

    def params(self, number: int) -> Mapping[str, Any] | None:
        """A trial's parameters, where the view shows it."""
        trial = self._read.get(number)
        return None if trial is None else trial.params

    def refresh(self) -> list[Result]:
        """Read the view again; the results that are new or changed, in its order."""
        changed = []
        for trial in self._view.get_all_trials(0, deepcopy=False):
            if self._read.get(trial.number) is trial:  # trials are replaced, never changed
                continue
            self._read[trial.number] = trial
            result = self._result(trial)
            if result is None:
                self._by_number.pop(trial.number, None)
            else:
                self._by_number[trial.number] = result
                changed.append(result)
        return changed

    def count(self, *, since: int) -> int:
        """How many trials from number `since` on have results."""
        return sum(number >= since for number in self._by_number)

    def best(self, count: int) -> list[Result]:
        """The best few, best first, by the highest rung that so many trials have reached."""
        ranked = [result for result in self._by_number.values() if result.losses]
        rungs = sorted((result.rung for result in ranked), reverse=True)
        rung = rungs[:count][-1] if rungs else 0
        ranked = [result for result in ranked if result.rung >= rung]
        return sorted(ranked, key=lambda r: (r.losses[rung - 1], r.number))[:count]

    def _result(self, trial: FrozenTrial) -> Result | None:
        """What a trial teaches; a crash teaches nothing, nor does one that runs below any rung."""
        if trial.state is TrialState.FAIL:
            return None
        if math.isnan(trial.intermediate_values.get(0, 0.0)):  # so the view shows a diverged one
            return Result(trial.number, trial.params, (), diverged=True)
        losses = self._losses(trial)
        ended = trial.state is TrialState.PRUNED and trial.datetime_complete is not None
        if not losses and not ended:
            return None
        return Result(trial.number, trial.params, losses, diverged=False)

    def _losses(self, trial: FrozenTrial) -> tuple[float, ...]:
        steps = sorted(trial.intermediate_values)
        losses = []
        for rung in self._rungs:
            reached = bisect.bisect_left(steps, rung)
            if reached == len(steps):
                break
            losses.append(self._sign * trial.intermediate_values[steps[reached]])
        if trial.state is TrialState.COMPLETE and not losses:
            assert trial.values is not None
            losses = [self._sign * trial.values[0]] * max(1, len(self._rungs))
        return tuple(losses) if all(map(math.isfinite, losses)) else ()
