"""A journal's events, folded into what a reader of a sweep wants to know."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from sweeps.journal.events import Event, Opened
from sweeps.journal.objective import At, Mode, Objective
from sweeps.journal.trials import Trials
from sweeps.storage.folder import Record


class Fold:
    """The trials, how long drivers ran, and how many events it has taken in."""

    def __init__(self, record: Record) -> None:
        self.trials = Trials(_objective(record))
        self.events = 0
        self.elapsed = 0.0
        """Adds up the time of drivers from the events alone; one that died, up to its last."""
        self._last: float | None = None

    def apply(self, event: Event) -> None:
        """Take one in."""
        self.trials.apply(event)
        self.events += 1
        if not isinstance(event, Opened) and self._last is not None:
            self.elapsed += max(0.0, event.time - self._last)
        self._last = event.time


def _objective(record: Record) -> Objective:
    at = cast(At, record.options.get("objective_at", "best"))
    metrics, modes = _listed(record.metric), cast(list[Mode], _listed(record.mode))
    first, *others = (
        Objective(metric=metric, mode=mode, at=at)
        for metric, mode in zip(metrics, modes, strict=True)
    )
    return replace(first, others=tuple(others))


def _listed(given: str | list[str]) -> list[str]:
    return given if isinstance(given, list) else [given]
