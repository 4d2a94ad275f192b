"""A sweep's results, kept up to date while it runs, for whoever looks again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from sweeps.journal.events import Event, Opened
from sweeps.journal.following import Follower, never_began
from sweeps.results import SweepResults
from sweeps.results.fold import Fold
from sweeps.storage.folder import Record, SweepFolder

_SHARE = 0.1
"""Of the time at most so much is spent on looking whether a journal grew."""


class LiveSweep:
    """A sweep that is read once, and from then on by what its journal gained.

    Several threads may read it; each holds it for as long as it works with what it got.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self.folder = folder
        self.version = 0
        """Grows with every change: what was made of an older one is out of date."""
        self.last: float | None = None
        """When its last event was."""
        self._lock = RLock()
        self._next_look = 0.0
        self._begin()

    @contextmanager
    def reading(self) -> Iterator[SweepResults]:
        """The sweep as it is now; nothing in it changes until this ends.

        Raises:
            SweepError: Its record or its journal is missing or cannot be read.
        """
        with self._lock:
            yield self._up_to_date()

    @property
    def is_busy(self) -> bool:
        """Whether somebody works with it, and another would have to wait."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
            return False
        return True

    def _begin(self) -> None:
        self._follower = Follower(self.folder)
        self._results: SweepResults | None = None

    def _up_to_date(self) -> SweepResults:
        if self._results is not None and time.monotonic() < self._next_look:
            return self._results
        try:
            return self._look()
        except Exception:
            self._begin()  # half of what is new was taken: the next time it is read from the start
            raise

    def _look(self) -> SweepResults:
        began = time.monotonic()
        try:
            gained = self._follower.read()
        except FileNotFoundError:
            raise never_began(self.folder) from None
        took = time.monotonic() - began
        results = self._results
        if results is None or gained.afresh:
            record = self._read_record()
            self._folded = Fold(record)
            results = self._fold(record, [])
        new = list(gained.events)
        if new:
            changed = any(isinstance(event, Opened) for event in new)
            results = self._fold(self._read_record() if changed else results.record, new)
        self._results, self._next_look = results, began + took / _SHARE
        return results

    def _fold(self, record: Record, events: list[Event]) -> SweepResults:
        for event in events:
            self._folded.apply(event)
            self.last = event.time
        self.version += 1
        return SweepResults.of(self.folder, record, self._folded)

    def _read_record(self) -> Record:
        """A sweep that is resumed may ask for more."""
        self.folder.impatient.pull(self.folder.sweep_yaml)
        return Record.read(self.folder)
