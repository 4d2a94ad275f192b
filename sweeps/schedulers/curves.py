"""Where a learning curve will end: parametric families, weighed by how well they explain it so far.

Domhan et al., "Speeding Up Automatic Hyperparameter Optimization of Deep Neural Networks by
Extrapolation of Learning Curves", IJCAI 2015. There the parameters of a weighted sum of eleven
families are sampled by MCMC. Every one of these families is a shape between two ends, though, and
is linear in them; so here the shape's parameters take the values of a grid, the ends are integrated
out in closed form (Bayesian linear regression), and each shape weighs as much as its marginal
likelihood. With free ends the eleven are six shapes:

    power            pow3, pow4
    hill             hill3, log power, MMF
    stretched        exp4, Janoschek, Weibull
    vapor pressure
    inverse log      ilog2
    log log          log log linear
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
T = TypeVar("T", int, float)
Shape = Callable[[Array], Array]
"""Steps -> how far the curve is from its end there, in any unit."""

_NOISES = np.geomspace(0.03, 1.0, 6)
"""What a report may be off by, in units of the change over the last doubling of steps."""
_MISFIT = 0.25
"""What no shape knows: a share of the way that is still to go."""
_BURN_IN = (0.0, 0.25, 0.5, 0.75)
"""Shares of the reports, from the first, that may belong to no curve: some first get worse."""
_GRID = 200
_MOST = 200
"""Reports that a curve is judged by: more would tell little more, and cost time."""


def _power(max_t: float) -> list[Shape]:
    def shape(alpha: float, shift: float) -> Shape:
        return lambda t: (t + shift) ** -alpha

    grid = itertools.product((0.1, 0.25, 0.5, 1.0, 2.0), (0.0, 3.0, max_t / 4))
    return list(itertools.starmap(shape, grid))


def _hill(max_t: float) -> list[Shape]:
    def shape(middle: float, slope: float) -> Shape:
        return lambda t: 1 / (1 + (t / middle) ** slope)

    grid = itertools.product(np.geomspace(1, max_t, 6), (1.0, 2.0, 4.0))
    return list(itertools.starmap(shape, grid))


def _stretched(max_t: float) -> list[Shape]:
    def shape(scale: float, power: float) -> Shape:
        return lambda t: np.exp(-((t / scale) ** power))

    grid = itertools.product(np.geomspace(0.5, max_t, 7), (0.5, 1.0, 2.0))
    return list(itertools.starmap(shape, grid))


def _vapor_pressure(max_t: float) -> list[Shape]:
    def shape(inverse: float, log: float) -> Shape:
        return lambda t: np.exp(inverse / t + log * np.log(t))

    return list(itertools.starmap(shape, itertools.product((-0.5, -3.0), (-0.5, -0.1, 0.1))))


def _inverse_log(max_t: float) -> list[Shape]:
    return [lambda t: 1 / np.log(t + 1)]


def _log_log(max_t: float) -> list[Shape]:
    def shape(shift: float) -> Shape:
        return lambda t: np.log(np.log(t) + shift)

    return [shape(shift) for shift in (0.3, 1.0, 4.0)]


_FAMILIES = (_power, _hill, _stretched, _vapor_pressure, _inverse_log, _log_log)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """Curves side by side, each in units of its own; one row a curve."""

    shapes: Array
    """Curves by shapes by reports."""
    losses: Array
    there: Flags
    """Whether there is a report: curves may have different numbers of them."""
    goals: Array
    doublings: Array
    """Of the steps, from the last report to `max_t`."""
    luck: Array
    """How far below its curve the best report to come will be, in units of the noise."""


class Curves:
    """Learning curves of up to `max_t` steps.

    A curve is `end + size * shape(step)`, where the shape is 0 at `max_t` and at most 1 before, and
    noise. So its end is a coefficient of the regression, and the prediction a mixture of normals.
    What depends on the steps alone is worked out once for each step.
    """

    def __init__(self, max_t: int) -> None:
        self._max_t = float(max_t)
        families = [family(self._max_t) for family in _FAMILIES]
        self._shapes = [shape for family in families for shape in family]
        weights = [-math.log(len(family)) for family in families for _ in family]
        self._log_weights = np.array(weights)[:, None]
        grid = np.geomspace(1.0, self._max_t, _GRID)
        self._ends = self._raw(np.array([self._max_t]))
        self._sizes = np.abs(self._raw(grid) - self._ends).max(axis=1, keepdims=True)
        self._columns: dict[int, Array] = {}

    def chances(
        self, curves: Sequence[tuple[Sequence[int], Sequence[float]]], targets: Sequence[float]
    ) -> Array:
        """The probability of each curve that a report near `max_t` will be below its target.

        Args:
            curves: (steps, losses) of each: ascending, finite, a few reports at least.
            targets: What to beat, for each.
        """
        seen = self._arrange(curves, targets)
        parts = [_regressions(seen, early) for early in _burn_ins(seen.there)]
        evidence = np.stack([part[0] for part in parts], axis=1) + self._log_weights
        chance = np.stack([part[1] for part in parts], axis=1)
        weight = np.exp(evidence - evidence.max(axis=(1, 2, 3), keepdims=True))
        mixed: Array = (weight * chance).sum(axis=(1, 2, 3)) / weight.sum(axis=(1, 2, 3))
        return mixed

    def _arrange(
        self, curves: Sequence[tuple[Sequence[int], Sequence[float]]], targets: Sequence[float]
    ) -> _Seen:
        length = min(_MOST, max(len(steps) for steps, _ in curves))
        shapes = np.zeros((len(curves), len(self._shapes), length))
        losses, there = np.zeros((len(curves), length)), np.zeros((len(curves), length), bool)
        goals, doublings, luck = np.zeros((3, len(curves)))
        for i, (curve, target) in enumerate(zip(curves, targets, strict=True)):
            steps, values = _thinned(curve[0]), _thinned(curve[1])
            count, last = len(steps), max(steps[-1], 1)
            centre, unit = _scale(steps, values)
            shapes[i, :, :count] = self._at(steps)
            losses[i, :count] = (np.array(values) - centre) / unit
            there[i, :count] = True
            goals[i] = (target - centre) / unit
            doublings[i] = math.log2(max(1.0, self._max_t / last))
            luck[i] = _luck((self._max_t / last - 1) * len(curve[0]) / 2)
        return _Seen(
            shapes=shapes, losses=losses, there=there, goals=goals, doublings=doublings, luck=luck
        )

    def _at(self, steps: Sequence[int]) -> Array:
        """The shapes at these steps; one row a shape."""
        new = [step for step in steps if step not in self._columns]
        if new:
            at = np.clip(np.array(new, dtype=float), 1.0, self._max_t)
            columns = (self._raw(at) - self._ends) / self._sizes
            self._columns.update(zip(new, columns.T, strict=True))
        return np.stack([self._columns[step] for step in steps], axis=1)

    def _raw(self, steps: Array) -> Array:
        return np.stack([shape(steps) for shape in self._shapes])


def _thinned(reports: Sequence[T]) -> Sequence[T]:
    """At most `_MOST` of them, evenly spread."""
    if len(reports) <= _MOST:
        return reports
    return [reports[i] for i in np.linspace(0, len(reports) - 1, _MOST).round().astype(int)]


def _scale(steps: Sequence[int], losses: Sequence[float]) -> tuple[float, float]:
    """Where a curve stands, and how much it changed over the last doubling of steps.

    Both follow any change of the metric's unit and zero. One that never changed has next to none.
    """
    count = sum(2 * step > steps[-1] for step in steps)
    late = losses[-max(count, 3) :]
    change, whole = max(late) - min(late), max(losses) - min(losses)
    centre = sum(late) / len(late)
    return centre, max(change, 0.01 * whole) or 1e-9 * (abs(centre) or 1.0)


def _luck(reports: float) -> float:
    """The expectation of the best of so many draws of a standard normal (Blom 1958)."""
    count = max(reports, 1.0)
    return float(ndtri((count - 0.375) / (count + 0.25)))


def _burn_ins(there: Flags) -> list[Flags]:
    """By share of `_BURN_IN`: which reports belong to it."""
    number, count = np.cumsum(there, axis=1), there.sum(axis=1, keepdims=True)
    return [there & (number <= share * count) for share in _BURN_IN]


def _regressions(seen: _Seen, early: Flags) -> tuple[Array, Array]:
    """Curves by shapes by noises: log marginal likelihood, and the chance to beat the goal.

    The end is drawn from a normal around where the curve stands, as wide as it changed over the
    last doubling of steps times the doublings to come; an early report from one as wide as all.
    """
    late, y, shapes = (seen.there & ~early)[:, None, :], seen.losses, seen.shapes
    precision = _NOISES**-2
    widest = 1 + np.abs(y).max(axis=1)
    end = (1 + 2 * seen.doublings)[:, None, None]
    size = 3 * np.maximum(widest[:, None, None], end)

    def total(values: Array) -> Array:
        summed: Array = (late * values).sum(axis=2)[:, :, None]
        return summed

    count, y = total(np.ones_like(y)[:, None, :]), y[:, None, :]
    a11, a12 = count * precision + end**-2, total(shapes) * precision
    a22 = total(shapes**2) * precision + size**-2
    b0, b1 = total(y) * precision, total(shapes * y) * precision
    determinant = a11 * a22 - a12**2
    mean, slope = (a22 * b0 - a12 * b1) / determinant, (a11 * b1 - a12 * b0) / determinant
    burnt = (early * (np.log(widest**2)[:, None] + (seen.losses / widest[:, None]) ** 2)).sum(
        axis=1
    )
    evidence = (
        count * np.log(precision)
        - np.log(determinant * end**2 * size**2)
        - (total(y**2) * precision - b0 * mean - b1 * slope)
        - burnt[:, None, None]
    ) / 2
    deviation = np.sqrt(a22 / determinant + _NOISES**2 + (_MISFIT * mean) ** 2)
    ahead = seen.goals[:, None, None] - mean + seen.luck[:, None, None] * _NOISES
    return evidence, ndtr(ahead / deviation)
