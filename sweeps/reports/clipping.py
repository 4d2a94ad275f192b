"""An axis of the objective on which a few bad values do not hide the differences of the good."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from sweeps.journal.objective import Objective
from sweeps.reports.style import objective_axis

_KEPT = 0.9
"""The share of the values that the axis holds in any case, the best of them."""

_WORTH = 0.5
"""It is cut where what is kept takes less than this share of the whole range."""

_PADDING = 0.08


def clipped(objective: Objective, values: Iterable[float]) -> tuple[dict[str, Any], str]:
    """The axis, and what it leaves out, in a sentence."""
    axis, ordered = objective_axis(objective), sorted(values, key=objective.loss)
    if len(ordered) < 3:
        return axis, ""
    best, kept, worst = ordered[0], ordered[math.ceil(_KEPT * len(ordered)) - 1], ordered[-1]
    if kept == best or abs(kept - best) >= _WORTH * abs(worst - best):
        return axis, ""
    padding = _PADDING * abs(kept - best)
    low, high = min(kept, best) - padding, max(kept, best) + padding
    outside = sum(not low <= value <= high for value in ordered)
    if not outside:
        return axis, ""
    said = "value lies" if outside == 1 else "values lie"
    left = f"{outside} {said} beyond the axis: a double click shows all."
    return {**axis, "range": [low, high]}, left
