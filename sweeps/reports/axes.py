"""A parameter's axis: named, on its own scale, with ticks that say its own values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from optuna.distributions import IntDistribution

from sweeps.reports.studies import Axis

_PADDING = 0.04
_FEW = 8
"""So many integers get a tick each."""


def axis_of(axis: Axis, values: Sequence[Any]) -> dict[str, Any]:
    """The plotly axis of a parameter over the values that it took.

    Under one_minus_log the study holds 1 - x on a log scale: the ticks say x, which grows to the
    right and up.
    """
    said = {"title": {"text": axis.label + _scale(axis)}}
    if axis.is_choice:
        return {**said, "type": "category"}
    low, high = min(values), max(values)
    if not axis.log or low == high:
        of = axis.distribution
        line = {**said, "type": "linear", "range": _padded(low, high)}
        if isinstance(of, IntDistribution) and high - low <= _FEW * of.step:
            return {**line, "dtick": of.step}
        return line
    ends = _padded(math.log10(low), math.log10(high))
    marks = log_ticks(low, high)
    ticks = {"type": "log", "tickmode": "array", "tickvals": marks}
    if axis.one_minus:
        texts = [f"{1 - mark:.12g}" for mark in marks]
        return {**said, **ticks, "ticktext": texts, "range": ends[::-1]}
    return {**said, **ticks, "ticktext": [_tick(mark) for mark in marks], "range": ends}


def log_ticks(low: float, high: float) -> list[float]:
    """The powers of ten between two ends; where they are few, twice and five times them too."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1,), (1, 3), (1, 2, 5)):
        marks = [m * 10.0**power for power in powers for m in multiples]
        inside = [float(f"{mark:.3g}") for mark in marks if low * 0.999 <= mark <= high * 1.001]
        if len(inside) >= 3:
            break
    return _at_most(inside, 6) if len(inside) > 1 else [low, high]


def _at_most(marks: Sequence[float], most: int) -> list[float]:
    every = math.ceil(len(marks) / most)
    return list(marks[::every])


def _tick(value: float) -> str:
    if 1e-3 <= value < 1e5:
        return f"{value:g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    power = f"10<sup>{int(exponent)}</sup>"
    return power if mantissa == "1" else f"{mantissa}·{power}"


def _scale(axis: Axis) -> str:
    if axis.one_minus:
        return " (log of 1 - x)"
    return " (log)" if axis.log else ""


def _padded(low: float, high: float) -> list[float]:
    span = high - low or abs(high) or 1.0
    return [low - _PADDING * span, high + _PADDING * span]
