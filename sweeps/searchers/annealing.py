"""Simulated annealing (Kirkpatrick, Gelatt & Vecchi, Science 220, 1983), for many workers.

The next configuration is a neighbour of the current one; what it gives is accepted as the new
current one by the rule of Metropolis et al. (1953), at a temperature that falls with each result.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sweeps.searchers.base import seed_of
from sweeps.searchers.learner import Lesson, Pupil
from sweeps.searchers.results import Result
from sweeps.searchers.view import View
from sweeps.space.scale import from_unit, to_unit
from sweeps.space.space import Parameter, Space

_COLDEST = 0.05
"""The least that steps shrink to, as a share of the first; choices go on to move as rarely."""
_TRIES = 100
"""Draws until a neighbour is another configuration than the current one."""
_METROPOLIS = 1
"""Sets the seeds of acceptance apart from those of asks."""


class Annealing(Pupil):
    """A chain of accepted configurations, with neighbours of the current one in all slots at once.

    A worse neighbour is accepted with probability exp(-d / T): d is how much more it loses, in
    units of the spread (interquartile range) of all losses so far at that rung, so that it does not
    matter how the objective is scaled. Two trials meet at the highest rung that both have reached,
    and again when the neighbour is promoted. A current one that turns out worse than another at a
    higher rung gives way to that, as does one that diverges.

    T falls by the factor `cooling` with each result, and steps become shorter with its square root.
    A number moves by a Gaussian step in its own scale, reflected at its bounds; integers and grids
    by half a cell at least. A choice is drawn anew with a probability that falls likewise. A
    parameter that the current one does not have is drawn from its whole range.

    Args:
        space: What is searched.
        view: Where the results are.
        seed: The sweep's.
        rungs: The scheduler's.
        initial_temperature: T before the first result.
        cooling: What T is multiplied by for each result that was judged.
        step: Standard deviation of the first steps, as a share of a parameter's range.
    """

    def __init__(
        self,
        *,
        space: Space,
        view: View,
        seed: int,
        rungs: Sequence[int] = (),
        initial_temperature: float = 0.2,
        cooling: float = 0.95,
        step: float = 0.2,
    ) -> None:
        if not 0 < initial_temperature < math.inf:
            raise ValueError(f"initial_temperature is {initial_temperature}; it must be above 0")
        if not 0 < cooling <= 1:
            raise ValueError(f"cooling is {cooling}; it must be above 0 and at most 1")
        if not 0 < step <= 1:
            raise ValueError(f"step is {step}; it must be above 0 and at most 1")
        self._initial_temperature = initial_temperature
        self._cooling = cooling
        self._step = step
        super().__init__(space=space, view=view, seed=seed, rungs=rungs)

    def _begin(self) -> None:
        super()._begin()
        self._current: Result | None = None
        self._seen = 0
        """Results of this sweep's own trials."""
        self._points: dict[int, Result] = {}
        self._ranked: list[list[tuple[float, int]]] = []
        """By rung: (loss, trial), ascending."""

    # The chain

    def _take_in(self, lesson: Lesson) -> None:
        result, current = lesson.result, self._current
        if result.diverged:
            self._drop(result.number)
        elif result.losses:
            self._rank(lesson)
            if current is None or current.number == result.number:
                self._current = self._best_at(result.rung)
            elif min(result.rung, current.rung) > lesson.known and self._accepts(result, current):
                self._current = result
        self._seen += lesson.known == 0 and result.number >= 0

    def _rank(self, lesson: Lesson) -> None:
        result = lesson.result
        self._points[result.number] = result
        self._ranked += [[] for _ in range(result.rung - len(self._ranked))]
        for rung in range(lesson.known, result.rung):
            bisect.insort(self._ranked[rung], (result.losses[rung], result.number))

    def _drop(self, number: int) -> None:
        point = self._points.pop(number, None)
        if point is None:
            return
        for ranked, loss in zip(self._ranked, point.losses, strict=False):
            del ranked[bisect.bisect_left(ranked, (loss, number))]
        if self._current is point:
            reached = [rung for rung, ranked in enumerate(self._ranked, start=1) if ranked]
            self._current = self._best_at(reached[-1]) if reached else None

    def _best_at(self, rung: int) -> Result:
        return self._points[self._ranked[rung - 1][0][1]]

    def _accepts(self, result: Result, current: Result) -> bool:
        """The Metropolis rule, at the highest rung that both have reached."""
        rung = min(result.rung, current.rung)
        worse = result.losses[rung - 1] - current.losses[rung - 1]
        if worse <= 0:
            return True
        usual = _spread(self._ranked[rung - 1]) * self._initial_temperature * self._heat
        if usual == 0:
            return False
        seed = seed_of(self._seed, result.number % 2**32, rung, _METROPOLIS)
        return np.random.default_rng(seed).random() < math.exp(-worse / usual)

    @property
    def _heat(self) -> float:
        """The temperature as a share of the first."""
        return float(self._cooling**self._seen)

    # Neighbours

    def _draw(self, seed: int) -> Mapping[str, Any]:
        rng = np.random.default_rng(seed)
        here = self._current.params if self._current else {}
        width = self._step * max(math.sqrt(self._heat), _COLDEST)

        def suggest(parameter: Parameter) -> Any:
            distribution = parameter.distribution()
            if parameter.optuna_name not in here:
                return from_unit(distribution, rng.random())
            return _neighbour(distribution, here[parameter.optuna_name], width, rng)

        for _ in range(_TRIES):
            params = self._space.draw(suggest)
            if params != here:
                break
        return params


def _spread(ranked: Sequence[tuple[float, int]]) -> float:
    """The interquartile range of losses in ascending order."""
    last = len(ranked) - 1
    return ranked[round(0.75 * last)][0] - ranked[round(0.25 * last)][0]


def _neighbour(
    distribution: BaseDistribution, value: Any, width: float, rng: np.random.Generator
) -> Any:
    """A value near another, in the distribution's own scale."""
    if isinstance(distribution, CategoricalDistribution):
        return from_unit(distribution, rng.random()) if rng.random() < 2 * width else value
    by = max(width, _half_cell(distribution, value)) * rng.standard_normal()
    return from_unit(distribution, _reflected(to_unit(distribution, value) + by))


def _half_cell(distribution: BaseDistribution, value: Any) -> float:
    """Half of what a value takes up of [0, 1]; 0 on a continuum."""
    match distribution:
        case IntDistribution(log=True):
            whole = math.log(distribution.high + 0.5) - math.log(distribution.low - 0.5)
            return (math.log(value + 0.5) - math.log(value - 0.5)) / whole / 2
        case IntDistribution() | FloatDistribution(step=float()):
            return to_unit(distribution, distribution.low)
    return 0.0


def _reflected(unit: float) -> float:
    """A point beyond an end of [0, 1], as often as it takes, at as much inside of it."""
    folded = unit % 2.0
    return 2.0 - folded if folded > 1 else folded
