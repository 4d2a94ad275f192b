"""Trials whose task raised, and which are to be tried again after a while."""

from __future__ import annotations

import heapq

from sweeps.journal.trials import Trial

_MOST_DOUBLINGS = 10


class Retries:
    """A queue by time: a trial waits `backoff_s` after its first failure, then twice as long.

    The time is counted from the failure's own, so a resumed sweep does not wait anew. After ten
    doublings it grows no more.
    """

    def __init__(self, backoff_s: float) -> None:
        self._backoff_s = backoff_s
        self._waiting: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def due(self) -> float | None:
        """When the first may go on; None where none waits."""
        return self._waiting[0][0] if self._waiting else None

    def add(self, trial: Trial, now: float) -> None:
        """Let a trial wait; a clock that was set back does not make it wait longer."""
        failed = min(trial.failures[-1].time, now)
        wait = self._backoff_s * 2 ** min(len(trial.failures) - 1, _MOST_DOUBLINGS)
        heapq.heappush(self._waiting, (failed + wait, trial.number))

    def drop(self, trial: int) -> None:
        """Let a trial wait no more, if it does."""
        self._waiting = [entry for entry in self._waiting if entry[1] != trial]
        heapq.heapify(self._waiting)

    def take(self, now: float) -> list[int]:
        """The trials that have waited long enough, in their order."""
        ready = []
        while self._waiting and self._waiting[0][0] <= now:
            ready.append(heapq.heappop(self._waiting)[1])
        return ready
