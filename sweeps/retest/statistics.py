"""What a few runs with other seeds tell of configurations: intervals, and which is truly the best.

Values are losses throughout: less is better. Run c of seed s is `losses[c, s]`, NaN where that run
gave no value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]

LEVEL = 0.95
"""Of every interval."""
_RESAMPLES = 9_999
_DRAWS = 40_000
_GRID = 400


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """A bootstrap interval of the mean of runs with other seeds; None of fewer than two.

    Percentiles of the bootstrapped means (`scipy.stats.bootstrap`), taken further out than the
    level says, as far as Student's t lies beyond the normal distribution with the bootstrap's
    standard error, which divides by n: without that the interval of a small sample is too short
    (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", The American Statistician
    69, expanded percentile interval). Nothing is assumed of the values' distribution; the price is
    that the interval is never wider than the values are apart, see `most_coverage`.
    """
    from scipy import stats

    x = np.asarray(values, np.float64)
    if len(x) < 2:
        return None
    if np.ptp(x) == 0:
        return float(x[0]), float(x[0])
    found = stats.bootstrap(
        (x,),
        np.mean,
        method="percentile",
        confidence_level=_expanded(len(x)),
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def most_coverage(count: int) -> float:
    """How often an interval that lies within `count` values can hold their distribution's middle:
    not where all of them lie on one side of it."""
    return 1 - 2.0 ** (1 - count)


def _expanded(count: int) -> float:
    """The level whose normal percentiles lie as far out as Student's t does."""
    from scipy import stats

    t = float(stats.t.ppf((1 + LEVEL) / 2, count - 1))
    return float(1 - 2 * stats.norm.sf(t * math.sqrt(count / (count - 1))))


def chances(losses: Losses, *, paired: bool) -> list[float] | None:
    """For each configuration the chance that its mean over all seeds is the best of these.

    The posterior of the random-effects model

        loss[c, s] = m[s] + a[c] + e[c, s],  a[c] ~ N(0, tau^2),  e[c, s] ~ N(0, sigma^2)

    with flat priors of the seeds' effects m and of log sigma, and a uniform prior of the shrinkage
    rho = n tau^2 / (sigma^2 + n tau^2), n the runs of a configuration (Strawderman 1971, Annals of
    Mathematical Statistics 42; Daniels 1999, Canadian Journal of Statistics 27): so configurations
    that hardly differ are not told apart by their noise. Given rho all is in closed form; rho is on
    a grid, and the chances are shares of draws from the posterior.

    Assumed: errors near normal, of the same spread for every configuration.

    Args:
        losses: `[configurations, seeds]`, NaN where a run gave no value; one value at least in
            each row.
        paired: Whether a column is one seed, the same for all: its effect m[s] then falls out of
            every comparison. Else m is the same for all runs.

    Returns:
        One chance a row; None where nothing tells how much runs of one configuration differ.
    """
    from scipy import linalg

    row, column = np.nonzero(np.isfinite(losses))
    y = losses[row, column]
    count = len(losses)
    of_row = np.eye(count)[row]
    of_column = np.eye(losses.shape[1])[column] if paired else np.ones((len(y), 1))
    contrasts = linalg.null_space(of_column[:, of_column.any(0)].T)
    u, d, v = np.linalg.svd(contrasts.T @ of_row)
    if count < 2 or len(u) <= (rank := int((d > 1e-9).sum())):
        return None
    w = u.T @ contrasts.T @ y
    if not w.any():
        return [1 / count] * count
    d = np.concatenate([d[:rank], np.zeros(max(len(u), count) - rank)])
    return _best_shares(w / np.abs(w).max(), d, v, runs=len(y) / count)


def _best_shares(w: Losses, d: Losses, v: Losses, *, runs: float) -> list[float]:
    """How often each effect is the least, over draws from the posterior.

    Args:
        w: The contrasts along the design's singular directions, `[n]`.
        d: The singular values, zeros behind them, `[max(n, configurations)]`.
        v: The directions in configurations, `[configurations, configurations]`.
        runs: Of a configuration, on average.
    """
    rng, count = np.random.default_rng(0), len(v)
    rho = (np.arange(_GRID) + 0.5) / _GRID
    ratio = (rho / (1 - rho) / runs)[:, None]  # tau^2 / sigma^2
    scale = 1 + ratio * d[: len(w)] ** 2
    square = (w**2 / scale).sum(1)
    log_posterior = -0.5 * np.log(scale).sum(1) - 0.5 * len(w) * np.log(square)
    weights = np.exp(log_posterior - log_posterior.max())
    drawn = rng.choice(_GRID, size=_DRAWS, p=weights / weights.sum())
    variance = square[drawn] / rng.chisquare(len(w), _DRAWS)  # sigma^2
    shrunk = ratio / (1 + ratio * d[:count] ** 2)
    along = np.zeros(count)
    along[: min(count, len(w))] = w[:count]
    mean = shrunk * d[:count] * along
    spread = np.sqrt(shrunk[drawn] * variance[:, None])
    effects = (mean[drawn] + spread * rng.standard_normal((_DRAWS, count))) @ v
    return (np.bincount(effects.argmin(1), minlength=count) / _DRAWS).tolist()
