"""What others ask of the sweep as it runs, looked for beside the driver's own work."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from cluster.bucket import BucketError
from sweeps.storage.folder import SweepFolder
from sweeps.storage.requests import Requests

log = logging.getLogger(__name__)

EVERY_S = 1.0
EVERY_S_IN_A_BUCKET = 5.0
"""One list request each time: 720 an hour, some $0.004."""


class Inbox:
    """Looks for requests in a thread of its own: storage that is slow holds nobody up.

    with Inbox(folder) as inbox:
        for request, asked in inbox.take():
            ...  # the journal has it
            inbox.done(request)
    """

    def __init__(self, folder: SweepFolder, *, every_s: float | None = None) -> None:
        by_place = EVERY_S if folder.remote is None else EVERY_S_IN_A_BUCKET
        self._every_s = by_place if every_s is None else every_s
        self._requests = Requests(folder.impatient)
        self._came: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._seen: set[str] = set()
        self._over = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    def __enter__(self) -> Self:
        """Look once, so that what was asked meanwhile comes before anything else."""
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the thread, once what was done is taken away."""
        self._over.set()
        self._thread.join()

    def take(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What came since the last time: its id, and what is asked."""
        while not self._came.empty():
            yield self._came.get()

    def done(self, request: str) -> None:
        """The journal has it: its file may go."""
        self._done.put(request)

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self._look()
        self._look()

    def _look(self) -> None:
        try:
            while not self._done.empty():
                self._discard(self._done.get())
            for request in [] if self._over.is_set() else self._requests.waiting():
                if request not in self._seen:
                    self._read(request)
            self._failing = False
        except (OSError, BucketError) as error:  # they stay, and are looked for again
            if not self._failing:
                log.warning("requests cannot be taken: %s", error)
            self._failing = True

    def _read(self, request: str) -> None:
        with suppress(FileNotFoundError):  # it was taken back, or is gone but still listed
            self._came.put((request, self._requests.read(request)))
            self._seen.add(request)

    def _discard(self, request: str) -> None:
        """Take a file away; one that stays is found again, and was answered."""
        self._seen.discard(request)
        self._requests.discard(request)
