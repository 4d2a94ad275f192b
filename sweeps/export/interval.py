"""How far a metric may be from what more rows would give."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000
MANY = 50_000
"""Rows from which on the mean is as good as normal, and resampling would only take time."""

_Z = 1.959963984540054  # the normal distribution's quantile 0.975


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95% interval."""

    low: float
    high: float
    rows: int
    method: str
    """`Wilson`, `bootstrap` or `normal`."""


def mean_interval(values: Any) -> Interval | None:
    """The interval of a mean over independent rows.

    Wilson's score interval where each row counts 0 or 1 (Wilson 1927, JASA 22), else the percentile
    bootstrap of 2,000 resamples (Efron 1979, Annals of Statistics 7), or mean +- 1.96 standard
    errors where the rows are many.

    Args:
        values: `[n]`.

    Returns:
        None where there are no rows, or a value is not finite.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    if not len(x) or not np.isfinite(x).all():
        return None
    if np.isin(x, (0.0, 1.0)).all():
        return _wilson(int(x.sum()), len(x))
    if len(x) > MANY:
        mean, error = float(x.mean()), float(x.std(ddof=1)) / math.sqrt(len(x))
        return Interval(low=mean - _Z * error, high=mean + _Z * error, rows=len(x), method="normal")
    generator = np.random.default_rng(0)  # the same export says the same
    means = [x[generator.integers(len(x), size=len(x))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(low=float(low), high=float(high), rows=len(x), method="bootstrap")


def _wilson(right: int, n: int) -> Interval:
    p, z2 = right / n, _Z**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Interval(low=low, high=high, rows=n, method="Wilson")
