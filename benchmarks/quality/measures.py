"""What is measured of the runs of a method, with intervals over its seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from quality.clock import Run
from quality.problems import Problem

PARTS = {"T/10": 0.1, "T/3": 1 / 3, "T": 1.0}
_DRAWS = 2000

Statistic = Callable[[np.ndarray], np.ndarray]
"""Rows of samples -> one number for each."""


@dataclass(frozen=True)
class Estimate:
    """A statistic of the seeds, and its interval of 95%."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f} {self.high:.3f}]"


def mean(rows: np.ndarray) -> np.ndarray:
    """The mean of each row."""
    return rows.mean(axis=-1)


def median(rows: np.ndarray) -> np.ndarray:
    """The lower median of each row: a value that occurs, also where half of them are infinite."""
    return np.sort(rows, axis=-1)[..., (rows.shape[-1] - 1) // 2]


def bootstrap(samples: Sequence[float], statistic: Statistic = mean) -> Estimate:
    """The statistic over the seeds, which are drawn anew with replacement for its interval."""
    rows = np.asarray(samples, dtype=float)
    picks = np.random.default_rng(0).integers(len(rows), size=(_DRAWS, len(rows)))
    low, high = np.quantile(statistic(rows[picks]), [0.025, 0.975], method="nearest")
    return Estimate(float(statistic(rows)), float(low), float(high))


def regrets(runs: Sequence[Run], problem: Problem, seconds: float) -> list[float]:
    """Each seed's regret then."""
    return [problem.regret(run.loss_at(seconds)) for run in runs]


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """The mean of ours less theirs, seed by seed, over the seeds that both have."""
    return bootstrap([a - b for a, b in zip(ours, theirs, strict=False)])


@dataclass(frozen=True)
class Speed:
    """How much longer random search needs, see the package's words."""

    to_target: Estimate
    hits: float
    at_end: Estimate


def speed(runs: Sequence[Run], problem: Problem, *, workers: int, seconds: float) -> Speed:
    """The method's speed-up over random search without early stopping."""
    trainings = workers * seconds / problem.seconds
    target = problem.loss_after(trainings)
    times = [run.time_to(target) for run in runs]
    losses = [run.loss_at(seconds) for run in runs]
    return Speed(
        to_target=bootstrap(times, lambda rows: seconds / median(rows)),
        hits=float(np.mean(np.isfinite(times))),
        at_end=bootstrap(losses, lambda rows: _trainings(median(rows), problem) / trainings),
    )


def _trainings(losses: np.ndarray, problem: Problem) -> np.ndarray:
    return np.vectorize(problem.trainings_to, otypes=[float])(losses)
