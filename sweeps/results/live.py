"""Keeps the parts of a sweep's tables up to date while it runs, behind the decisions' back.

with LiveTables(folder, history) as tables:
    ...  # the engine calls tables(event, trials)
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from cluster.bucket import BucketError
from sweeps.errors import SweepError
from sweeps.journal.events import Event
from sweeps.journal.trials import Trials
from sweeps.results.parts import Parts
from sweeps.storage.folder import Record, SweepFolder

log = logging.getLogger(__name__)

_EVERY_S = 30.0
_LOOKS = 30
"""So often between two writings it takes in what happened."""

_SHARE = 20
"""Between two writings it rests so many times as long as the last one took."""


class LiveTables:
    """An engine's listener, and a thread that writes; a context manager.

    The decisions' thread only notes the event: the tables are made from the events, in a fold of
    their own. What cannot be written is told in the log and tried again: the journal holds the
    truth, and no sweep ends for its tables.
    """

    def __init__(
        self,
        folder: SweepFolder,
        history: Iterable[Event] = (),
        *,
        check: Callable[[], None] = lambda: None,
        every_s: float | None = None,
    ) -> None:
        """Begin with what happened under earlier drivers.

        Args:
            folder: The sweep's; its record is written.
            history: The journal's events so far.
            check: Raises SweepError where another driver writes the sweep now.
            every_s: The least time between two writings; 30 by default.
        """
        self._folder = folder
        self._happened = deque(history)
        self._check = check
        self._every_s = _EVERY_S if every_s is None else every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tables", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the thread. What is not written by then, the whole tables have."""
        self._over.set()
        self._thread.join()

    def __call__(self, event: Event, trials: Trials) -> None:
        """Note an event that took effect."""
        self._happened.append(event)

    def _run(self) -> None:
        parts = Parts(self._folder, Record.read(self._folder))
        self._take(parts)
        due = time.monotonic() + self._every_s
        with self._telling():
            parts.find_written()
        while not self._over.wait(self._every_s / _LOOKS):
            self._take(parts)
            if time.monotonic() < due or parts.is_written:
                continue
            began = time.monotonic()
            with self._telling():
                self._check()
                parts.write()
            took = time.monotonic() - began
            due = time.monotonic() + max(self._every_s, _SHARE * took)

    def _take(self, parts: Parts) -> None:
        while self._happened and not self._over.is_set():
            parts.take(self._happened.popleft())

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (OSError, BucketError, SweepError) as error:
            log.warning("the tables are not up to date: %s", error)
