"""What a segment of a task gave: what it returned, and its best report where none is judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.journal.objective import Objective
from sweeps.journal.status import Decision
from sweeps.session import number


class Gathered:
    """The best report of a segment whose reports nobody judges one by one."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self.metrics: Mapping[str, float] = {}
        self.checkpoint: Path | None = None

    def take(self, metrics: dict[str, float], checkpoint: Path | None) -> Decision:
        """Keep a report if it is the best; one that diverged ends the segment."""
        value = metrics.get(self._objective.metric)
        if value is None:
            return Decision.CONTINUE
        if not math.isfinite(value):
            self.metrics = metrics
            return Decision.STOP
        if self._objective.replaces(value, self.metrics.get(self._objective.metric)):
            self.metrics, self.checkpoint = metrics, checkpoint
        return Decision.CONTINUE


def returned_metrics(result: Any) -> dict[str, float]:
    """What a task function returned, as metrics by name; a bare number is called `objective`."""
    if result is None:
        return {}
    named = result if isinstance(result, Mapping) else {Objective().metric: result}
    return {str(name): number(str(name), value) for name, value in named.items()}
