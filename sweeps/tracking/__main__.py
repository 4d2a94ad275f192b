"""A tracker's process: `python -m sweeps.tracking`, started by the driver and by nobody else.

Its first line of input says what to do (`Task`), every further one is an event as the journal has
it. When its input ends after the sweep was closed it shows the rest, otherwise the driver has died:
the next one's process does. What it has to tell goes to its output, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

from cluster.bucket import Bucket, BucketError
from sweeps.journal.events import Event
from sweeps.journal.records import decode
from sweeps.journal.segments import read_events
from sweeps.journal.trials import Trials
from sweeps.results import SweepResults
from sweeps.storage.folder import Record, SweepFolder
from sweeps.storage.remote import Remote
from sweeps.tracking.follower import Follower
from sweeps.tracking.ledger import Ledger
from sweeps.tracking.runs import Runs
from sweeps.tracking.task import Task, in_one_line, sweep_of
from sweeps.tracking.trackers import make_tracker

_NICE = 5
_PUSH_S = 30.0
_SAY_S = 1.0
_LEAVE_S = 20.0
"""So long it takes at most to end when its driver has died."""


class _Inbox:
    """Events, taken in by a thread of their own until there are no more."""

    def __init__(self, runs: Runs, history: Iterable[Event], lines: IO[str]) -> None:
        self._runs = runs
        self._history = history
        self._lines = lines
        self.over = threading.Event()
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._read, name="events", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for event in self._events():
                self._runs.apply(event)
        except Exception as error:  # noqa: BLE001 - told by the main thread
            self.failure = error
        finally:
            self.over.set()
            if self._runs.ending is None:
                _leave_in(_LEAVE_S)

    def _events(self) -> Iterator[Event]:
        yield from self._history
        for line in self._lines:
            if line.endswith("\n"):  # the driver died within one
                yield decode(json.loads(line))


def _leave_in(seconds: float) -> None:
    """End this process however long the tracker takes; nobody waits for it any more."""
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()


class _Telling:
    """What the driver hears, and how the ledger of a sweep in a bucket gets there."""

    def __init__(self, out: IO[str], folder: SweepFolder, ledger: Path, inbox: _Inbox) -> None:
        self._out = out
        self._folder = folder
        self._ledger = ledger
        self._inbox = inbox
        self._said = self._pushed = time.monotonic()

    def say(self, **words: Any) -> None:
        """Tell the driver something."""
        self._out.write(f"{json.dumps(words)}\n")

    def tick(self) -> None:
        """Say that there is progress where somebody waits for it; push the ledger."""
        now = time.monotonic()
        if self._inbox.over.is_set() and now - self._said > _SAY_S:
            self._said = now
            self.say(goes_on=True)
        if now - self._pushed > _PUSH_S:
            self._pushed = now
            self._push()

    def end(self, runs: Runs) -> None:
        """Say what could not be shown."""
        self._push()
        trials, points = runs.left
        self.say(trials=trials, points=points)

    def _push(self) -> None:
        with suppress(BucketError):  # what is sent twice for it changes nothing
            self._folder.impatient.push(self._ledger)


def main() -> None:
    """Follow a sweep to its end."""
    os.nice(_NICE)
    lines, out = _own_streams()
    task = Task.from_json(lines.readline())
    folder = _folder(task)
    path = folder.tracking(task.ledger)
    folder.pull(path)
    ledger = Ledger(path)  # let go of when this process ends
    sweep = SweepResults(
        folder=folder,
        record=Record.read(folder),
        trials=Trials(task.objective),
        elapsed=0.0,
        events=0,
    )
    runs = Runs(sweep)
    inbox = _Inbox(runs, islice(read_events(folder), task.history), lines)
    telling = _Telling(out, folder, path, inbox)
    follower = Follower(
        make_tracker(task, folder),
        runs,
        ledger,
        sweep=lambda: sweep_of(sweep.record, runs),
        on_failure=lambda error: telling.say(failed=in_one_line(error)),
        tick=telling.tick,
    )
    follower.follow(inbox.over.wait)
    if inbox.failure is not None:
        raise inbox.failure
    telling.end(runs)


def _own_streams() -> tuple[IO[str], IO[str]]:
    """What the driver writes and reads, out of the reach of libraries.

    They get nothing to read, and what they print goes where their errors go.
    """
    lines = os.fdopen(os.dup(0), encoding="utf-8")
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return lines, out


def _folder(task: Task) -> SweepFolder:
    remote = None if task.url is None else Remote(Bucket.parse(task.url), Path(task.folder))
    return SweepFolder(Path(task.folder), remote)


if __name__ == "__main__":
    main()
