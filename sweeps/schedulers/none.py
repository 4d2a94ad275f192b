"""No early stopping: every trial runs to its own end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.journal.status import Decision
from sweeps.schedulers.base import Done, Next, Observation, Scheduler, Start, Wait


class Fifo(Scheduler):
    """First in, first out; a trial that diverges is ended."""

    judges_between_rungs = False

    def on_start(self, trial: int, params: Mapping[str, Any]) -> None:
        """Nothing to keep."""

    def on_reports(self, observations: Sequence[Observation]) -> list[Decision]:
        """Everything finite goes on."""
        return [Decision.STOP if o.diverged else Decision.CONTINUE for o in observations]

    def on_end(self, trial: int) -> None:
        """Nothing to keep."""

    def next(self, *, can_start: bool, running: int) -> Next:
        """Start while the budget lasts."""
        if can_start:
            return Start()
        return Wait() if running else Done()
