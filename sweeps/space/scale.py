"""The scaled space: every parameter on the unit interval, as it is sampled.

A uniform draw on [0, 1], taken back through `from_unit`, is a uniform draw of the distribution on
its own scale: of the logarithm where it is log, of each value alike where there are finitely many.
Searchers that measure distances or zoom work here.
"""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)


def to_unit(distribution: BaseDistribution, value: Any) -> float:
    """Where a value (Optuna's external form) lies on [0, 1].

    One of n separate values stands for 1/n of the interval, and lies in that part's middle.
    """
    match distribution:
        case CategoricalDistribution():
            index = distribution.to_internal_repr(value)
            return (index + 0.5) / len(distribution.choices)
        case IntDistribution(log=True):
            return _share(math.log(value), *_log_ends(distribution))
        case IntDistribution():
            count = (distribution.high - distribution.low) // distribution.step + 1
            return (int(value - distribution.low) // distribution.step + 0.5) / count
        case FloatDistribution(step=float() as step):
            count = round((distribution.high - distribution.low) / step) + 1
            return (round((float(value) - distribution.low) / step) + 0.5) / count
        case FloatDistribution():
            x = math.log(value) if distribution.log else float(value)
            return _share(x, *_ends(distribution))
    raise TypeError(f"{distribution} is no distribution that Optuna samples")


def from_unit(distribution: BaseDistribution, unit: float) -> Any:
    """The value (Optuna's external form) at a point of [0, 1]; beyond it, the nearest end's."""
    unit = min(max(unit, 0.0), 1.0)
    match distribution:
        case CategoricalDistribution():
            return distribution.choices[_bin(unit, len(distribution.choices))]
        case IntDistribution(log=True):
            low, high = _log_ends(distribution)
            whole = round(math.exp(low + unit * (high - low)))
            return min(max(whole, distribution.low), distribution.high)
        case IntDistribution():
            count = (distribution.high - distribution.low) // distribution.step + 1
            return distribution.low + _bin(unit, count) * distribution.step
        case FloatDistribution(step=float() as step):
            count = round((distribution.high - distribution.low) / step) + 1
            return min(distribution.low + _bin(unit, count) * step, distribution.high)
        case FloatDistribution():
            low, high = _ends(distribution)
            x = low + unit * (high - low)
            value = math.exp(x) if distribution.log else x
            return min(max(value, distribution.low), distribution.high)
    raise TypeError(f"{distribution} is no distribution that Optuna samples")


def _ends(distribution: FloatDistribution) -> tuple[float, float]:
    if distribution.log:
        return math.log(distribution.low), math.log(distribution.high)
    return distribution.low, distribution.high


def _log_ends(distribution: IntDistribution) -> tuple[float, float]:
    return math.log(distribution.low - 0.5), math.log(distribution.high + 0.5)


def _share(x: float, low: float, high: float) -> float:
    return 0.5 if low == high else min(max((x - low) / (high - low), 0.0), 1.0)


def _bin(unit: float, count: int) -> int:
    return min(int(unit * count), count - 1)
