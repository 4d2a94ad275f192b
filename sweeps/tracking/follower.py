"""Brings a tracker to where the sweep stands, trial by trial, as often as it takes.

What is shown follows from where a trial stands now and from what the ledger says was sent, not from
single events. So a tracker that is slow gets several reports in one call, one that failed is simply
tried again, and one that is asked for late gets all from the beginning.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from sweeps.journal.status import Status
from sweeps.tracking.ledger import Ledger, Sent
from sweeps.tracking.runs import Runs
from sweeps.tracking.tracker import Sweep, Tracker

_ROUND_S = 0.5
"""So often a tracker is brought up to date: reports of fast trials go together."""

_BACKOFF_S = (1.0, 60.0)
_LAST_TRIES = 3


class Follower:
    """One tracker's. `follow` until the sweep's driver has ended."""

    def __init__(
        self,
        tracker: Tracker,
        runs: Runs,
        ledger: Ledger,
        *,
        sweep: Callable[[], Sweep],
        on_failure: Callable[[Exception], None],
        tick: Callable[[], None] = lambda: None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Nothing is connected yet.

        Args:
            tracker: What to bring up to date.
            runs: The sweep; another thread adds to it.
            ledger: What the tracker has been sent.
            sweep: What to tell of the sweep as a whole; asked once something has happened.
            on_failure: Told each error of the tracker's.
            tick: Called whenever something was done.
            sleep: Wait so many seconds.
        """
        self._tracker = tracker
        self._runs = runs
        self._ledger = ledger
        self._sweep = sweep
        self._on_failure = on_failure
        self._tick = tick
        self._sleep = sleep
        self._is_open = False
        self._begun: set[int] = set()
        """Trials whose run was taken up since the tracker was opened."""
        self._failures = 0
        """In a row."""

    def follow(self, wait: Callable[[float], bool]) -> None:
        """Follow the sweep to its end.

        Args:
            wait: Wait so many seconds, or until no more events will come; whether that is so.
        """
        pause = 0.0
        while not wait(pause):
            pause = self._backoff if self._round() else _ROUND_S
        if self._runs.ending is not None:
            self._catch_up()
        if self._is_open:
            self._attempt(lambda: self._tracker.close(self._runs.ending))

    def _catch_up(self) -> None:
        """Show the rest; a tracker that fails several times in a row now gets no more."""
        self._failures = 0
        while self._round() and self._failures < _LAST_TRIES:
            self._sleep(self._backoff)

    @property
    def _backoff(self) -> float:
        first, most = _BACKOFF_S
        return min(most, first * 2.0 ** max(0, self._failures - 1))

    def _round(self) -> bool:
        """Show all that is new; whether that failed."""
        while (number := self._runs.take()) is not None:
            done = self._attempt(partial(self._show, number))
            if not done:
                self._runs.touch(number)
            self._tick()
            if not done:
                return True
        return False

    def _attempt(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - a tracker's own; it is told, and tried again
            self._is_open = False
            self._failures += 1
            self._on_failure(error)
            return False
        self._failures = 0
        return True

    def _show(self, number: int) -> None:
        """Bring one trial up to date."""
        sent = self._ledger[number]
        run, points = self._runs.look(number, sent.points)
        if not points and sent.status is run.status:
            return
        if not self._is_open:
            self._tracker.open(self._sweep())
            self._is_open, self._begun = True, set()
            self._tick()
        if number not in self._begun:
            name = self._tracker.begin(run, sent.id)
            sent = self._note(number, Sent(id=name, points=sent.points, status=sent.status))
            self._begun.add(number)
        if points:
            self._tracker.log(run, points)
            count = sent.points + len(points)
            sent = self._note(number, Sent(id=sent.id, points=count, status=Status.RUNNING))
        if run.status is not Status.RUNNING:
            self._tracker.settle(run)
            self._begun.discard(number)
        self._note(number, Sent(id=sent.id, points=sent.points, status=run.status))

    def _note(self, number: int, sent: Sent) -> Sent:
        if sent != self._ledger[number]:
            self._ledger.note(number, sent)
        return sent
