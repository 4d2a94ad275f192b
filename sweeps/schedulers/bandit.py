"""A Gaussian process whose function changes over time, and where to look next on it.

Bogunovic et al., "Time-Varying Gaussian Process Bandit Optimization", AISTATS 2016, as population
based bandits use it (Parker-Holder et al., NeurIPS 2020, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]

_START = (0.3, 0.1, 0.1)
_BOUNDS = ((0.05, 3.0), (1e-3, 1.0), (1e-3, 0.5))
"""Of the kernel's lengthscale, noise and epsilon."""
_CANDIDATES = 500
_STEPS = (0.1, 0.02)


@dataclass(frozen=True, kw_only=True)
class Points:
    """Points of the unit cube, each at a time."""

    times: Array
    places: Array
    """One row a point."""

    def __add__(self, other: Points) -> Points:
        return Points(
            times=np.concatenate([self.times, other.times]),
            places=np.concatenate([self.places, other.places]),
        )


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """exp(-|x - x'|^2 / (2 lengthscale^2)) * (1 - epsilon)^(|t - t'| / 2), times any variance."""

    lengthscale: float
    noise: float
    """Of what is observed; in units of that variance."""
    epsilon: float

    def between(self, a: Points, b: Points) -> Array:
        """The prior covariance of the function at `a` and at `b`; one row a point of `a`."""
        return self.of(*_distances(a, b))

    def of(self, squares: Array, apart: Array) -> Array:
        """The prior covariance of the function at places and times so far apart."""
        forgotten = math.log1p(-self.epsilon) / 2
        prior: Array = np.exp(forgotten * apart - squares / (2 * self.lengthscale**2))
        return prior

    def observed(self, points: Points) -> Array:
        """The prior covariance of what is observed at `points`."""
        return self.between(points, points) + self.noise * np.eye(len(points.times))


class Bandit:
    """The function as `seen` shows it, with the kernel of the largest marginal likelihood.

    Without BLAS: where trials keep all cores busy, its threads wait for each other a thousand times
    longer than they work; and with another number of them the last digits are others.

    Args:
        seen: Where and when it was observed.
        values: What was observed, in any unit.
        pending: What will be observed soon. It narrows the deviation, which does not depend on the
            values, and leaves the mean (Desautels et al., GP-BUCB, 2014).
    """

    def __init__(self, seen: Points, values: Array, pending: Points) -> None:
        spread = float(values.std()) if len(values) else 0.0
        values = (values - values.mean()) / spread if spread > 0 else np.zeros(len(values))
        self.kernel = _fit(seen, values)
        inverse, _ = _inverse(self.kernel.observed(seen))
        self._weights = (inverse * values).sum(axis=1)
        fit = float((values * self._weights).sum())
        self._variance = fit / len(values) if fit > 0 else 1.0
        self._seen, self._known = seen, seen + pending
        self._inverse, _ = _inverse(self.kernel.observed(self._known))

    def mean_and_deviation(self, at: Points) -> tuple[Array, Array]:
        """The posterior of the function at some points, in units of the values' own spread."""
        cross = self.kernel.between(at, self._known)
        mean = (cross[:, : len(self._weights)] * self._weights).sum(axis=1)
        left = 1 - (np.einsum("ij,jk->ik", cross, self._inverse) * cross).sum(axis=1)
        return mean, np.sqrt(self._variance * np.maximum(left, 0.0))

    def best_place(
        self, time: float, rng: np.random.Generator, allowed: Callable[[Array], bool]
    ) -> Array | None:
        """Where the upper confidence bound of the function at a time is highest.

        Among random points of the cube, and then among ever closer ones around the best; None where
        none of the first is allowed.
        """
        dimensions = self._seen.places.shape[1]
        places = [place for place in rng.random((_CANDIDATES, dimensions)) if allowed(place)]
        best = self._best_of(places, time)
        for deviation in _STEPS:
            if best is None:
                return None
            near = best + deviation * rng.standard_normal((_CANDIDATES // 4, dimensions))
            places = [place for place in np.clip(near, 0.0, 1.0) if allowed(place)]
            best = self._best_of([best, *places], time)
        return best

    def _best_of(self, places: Sequence[Array], time: float) -> Array | None:
        if not places:
            return None
        return places[int(np.argmax(self._bounds(time, np.array(places))))]

    def _bounds(self, time: float, places: Array) -> Array:
        at = Points(times=np.full(len(places), time), places=places)
        mean, deviation = self.mean_and_deviation(at)
        count = max(1, len(self._weights))
        beta = 0.2 + max(0.0, math.log(0.4 * count))  # the constants of the paper's authors
        bounds: Array = mean + math.sqrt(beta) * deviation
        return bounds


def _distances(a: Points, b: Points) -> tuple[Array, Array]:
    """Squared, between places; and between times."""
    places = a.places[:, None, :] - b.places[None, :, :]
    return (places**2).sum(axis=-1), np.abs(a.times[:, None] - b.times[None, :])


def _fit(seen: Points, values: Array) -> Kernel:
    """The kernel of the largest marginal likelihood, its variance the best one for it."""
    if not values.any():
        return _kernel(np.log(_START))
    distances = _distances(seen, seen)
    found = minimize(
        lambda logs: _loss(_kernel(logs), values, *distances),
        np.log(_START),
        jac=True,
        method="L-BFGS-B",
        bounds=np.log(_BOUNDS),
    )
    return _kernel(found.x)


def _kernel(logs: Array) -> Kernel:
    lengthscale, noise, epsilon = np.exp(logs).tolist()
    return Kernel(lengthscale=lengthscale, noise=noise, epsilon=epsilon)


def _loss(kernel: Kernel, values: Array, squares: Array, apart: Array) -> tuple[float, Array]:
    """Minus the log marginal likelihood, and its slope in the logarithms of its numbers."""
    prior, count = kernel.of(squares, apart), len(values)
    inverse, log_determinant = _inverse(prior + kernel.noise * np.eye(count))
    weights = (inverse * values).sum(axis=1)
    fit = float((values * weights).sum())
    slopes = np.outer(weights, weights) * (count / fit) - inverse
    epsilon = kernel.epsilon
    slope = [
        (slopes * prior * squares).sum() / kernel.lengthscale**2,
        np.trace(slopes) * kernel.noise,
        -(slopes * prior * apart).sum() * epsilon / (2 * (1 - epsilon)),
    ]
    loss = (count * math.log(fit) + log_determinant) / 2
    return loss, -np.array(slope) / 2


def _inverse(matrix: Array) -> tuple[Array, float]:
    """The inverse of a positive definite matrix, and the logarithm of its determinant.

    By Gauss and Jordan, a row at a time.
    """
    rest, log_determinant = matrix.copy(), 0.0
    for k, pivot in enumerate(rest.diagonal()):
        log_determinant += math.log(pivot)
        row, column = rest[k] / pivot, rest[:, k] / pivot
        rest -= np.outer(column, row) * pivot
        rest[k], rest[:, k], rest[k, k] = row, -column, 1 / pivot
    return rest, log_determinant
