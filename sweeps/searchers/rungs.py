"""Lenses: the view's trials for samplers that learn from COMPLETE trials alone.

Early stopping leaves few COMPLETE trials, while most have been measured at some rung. A lens shows
what a trial reached there as its value. Where there are no rungs, the one rung is a trial's end.
What has not changed is not looked at again.

A diverged trial counts as one with the worst value, so that samplers keep away from there.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from statistics import median

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.searchers.view import View


class _Lens(ABC):
    """Keeps what it showed of each trial for as long as that stays the same."""

    def __init__(self, view: View, rungs: Sequence[int]) -> None:
        self._diverged = view.diverged
        self._signs = [-1.0 if d is StudyDirection.MAXIMIZE else 1.0 for d in view.directions]
        self._rungs: list[float] = [math.inf]
        if rungs and len(view.directions) == 1:  # several objectives have values at the end alone
            self._rungs = [*rungs]
        self._seen: list[FrozenTrial] = []
        self._shown: list[FrozenTrial] = []

    def __call__(self, trials: Sequence[FrozenTrial]) -> Sequence[FrozenTrial]:
        """The same trials, as a sampler is to see them."""
        kept = min(len(trials), len(self._seen))
        changed = [place for place in range(kept) if self._seen[place] is not trials[place]]
        changed += range(kept, len(trials))
        if changed or len(trials) < len(self._seen):
            self._seen = list(trials)
            self._shown[kept:] = trials[kept:]
            for place in self._outdated(changed):
                self._shown[place] = _shown(trials[place], self._values(trials[place]))
        return self._shown

    @abstractmethod
    def _outdated(self, changed: Sequence[int]) -> Iterable[int]:
        """Take in the trials at these places; the places of those that no longer look the same."""

    @abstractmethod
    def _values(self, trial: FrozenTrial) -> list[float] | None:
        """What the trial has reached, as its values; None if nothing yet."""


class HighestRung(_Lens):
    """Every value is of one rung: the highest that enough trials have reached.

    As in BOHB (Falkner et al., ICML 2018, section 3.2 and algorithm 2): enough for a model of d
    parameters are d + 3 trials. Until then it is the lowest rung. What was paused or stopped below
    the rung is PRUNED, as in the view; what has crashed is not shown.

    Args:
        view: Whose trials.
        rungs: The scheduler's.
        enough: How many trials a rung needs.
    """

    def __init__(self, view: View, rungs: Sequence[int], *, enough: int) -> None:
        super().__init__(view, rungs)
        self._enough = enough
        self._at: list[dict[int, list[float]]] = [{} for _ in self._rungs]
        """By rung: each trial's values there."""
        self._rung = 0
        self._worst: list[float] | None = None

    @property
    def reached(self) -> int:
        """How many trials have a value at the rung that is shown."""
        return len(self._at[self._rung])

    def _outdated(self, changed: Sequence[int]) -> Iterable[int]:
        for place in changed:
            self._take_in(place)
        before = self._rung, self._worst
        enough = [r for r, values in enumerate(self._at) if len(values) >= self._enough]
        self._rung = max(enough, default=0)
        self._worst = self._find_worst()
        if self._rung != before[0]:
            return range(len(self._seen))
        if self._worst == before[1]:
            return changed
        return {*changed, *(n for n, t in enumerate(self._seen) if t.number in self._diverged)}

    def _take_in(self, place: int) -> None:
        trial = self._seen[place]
        number = trial.number
        counts = trial.state is not TrialState.FAIL and number not in self._diverged
        for rung, at in zip(self._rungs, self._at, strict=True):
            values = _values_at(trial, rung) if counts else None
            if values is not None:
                at[number] = values
            else:
                at.pop(number, None)

    def _find_worst(self) -> list[float] | None:
        reached = self._at[self._rung].values()
        if not self._diverged or not reached:
            return None
        columns = zip(*reached, strict=True)
        return [s * max(s * v for v in c) for s, c in zip(self._signs, columns, strict=True)]

    def _values(self, trial: FrozenTrial) -> list[float] | None:
        if trial.number in self._diverged:
            return self._worst
        return self._at[self._rung].get(trial.number)


class Carried(HighestRung):
    """The highest rung with enough trials; one below it has the value that it would have there.

    For regression: the few that were promoted are the good ones, and a model of them alone knows
    nothing of the bad regions and goes there again. A trial's value changes from its rung to the
    highest by as much as the median trial's that has reached both.
    """

    def __init__(self, view: View, rungs: Sequence[int], *, enough: int) -> None:
        super().__init__(view, rungs, enough=enough)
        self._changes: list[float] = []
        """By rung below the one shown."""

    def _outdated(self, changed: Sequence[int]) -> Iterable[int]:
        outdated, before = super()._outdated(changed), self._changes
        top = self._at[self._rung]
        self._changes = [
            median(value - at[number][0] for number, (value,) in top.items())
            for at in self._at[: self._rung]
        ]
        return outdated if self._changes == before else range(len(self._seen))

    def _values(self, trial: FrozenTrial) -> list[float] | None:
        values = super()._values(trial)
        if values is None and trial.number not in self._diverged:
            for at, change in reversed(list(zip(self._at, self._changes, strict=False))):
                if trial.number in at:
                    return [at[trial.number][0] + change]
        return values


class RungByRung(_Lens):
    """Every trial that has reached a rung has a value: what is at a higher rung beats all below.

    For samplers that only rank. They need as many trials as they proposed themselves a little
    while ago, and few of those ever reach a higher rung. With one objective, a value at the k-th
    rung is squashed into a band of its own, by a strictly increasing function. Once a trial has a
    value it keeps one, whatever becomes of it: it may be a parent.
    """

    def _outdated(self, changed: Sequence[int]) -> Iterable[int]:
        return changed

    def _values(self, trial: FrozenTrial) -> list[float] | None:
        if trial.number in self._diverged:
            return [sign * math.inf for sign in self._signs]
        if len(self._rungs) == 1:
            return _values_at(trial, self._rungs[0])
        for band in reversed(range(len(self._rungs))):
            values = _values_at(trial, self._rungs[band])
            if values is not None:
                (sign,) = self._signs
                return [math.atan(values[0]) / math.pi - sign * band]
        return None


def _values_at(trial: FrozenTrial, rung: float) -> list[float] | None:
    """The first report at the rung or beyond; of a complete trial without one, its own values."""
    reports = trial.intermediate_values
    if rung in reports:
        value = reports[int(rung)]
    else:
        step = min((step for step in reports if step >= rung), default=None)
        if step is None:
            return list(trial.values) if trial.state is TrialState.COMPLETE else None
        value = reports[step]
    return [value] if math.isfinite(value) else None


def _shown(trial: FrozenTrial, values: list[float] | None) -> FrozenTrial:
    if values is None or (trial.state is TrialState.COMPLETE and values == trial.values):
        return trial
    shown = copy.copy(trial)
    shown.state, shown.values = TrialState.COMPLETE, values
    return shown
