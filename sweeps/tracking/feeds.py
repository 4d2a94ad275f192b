"""The driver's side: each tracker's process gets the sweep's events, and says what went wrong.

An event costs the driver a place in a queue. A thread a tracker writes it on; the events that wait
are kept in the sweep's state anyway, so that nothing is thrown away while the sweep runs. What a
tracker could not take by the end it is sent when the sweep is resumed.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from cluster.bucket import BucketError
from sweeps.journal.events import Event
from sweeps.journal.records import encode
from sweeps.journal.trials import Trials
from sweeps.render import working
from sweeps.tracking.task import Task
from sweeps.tracking.trackers import describe

if TYPE_CHECKING:
    from sweeps.planning.plan import Plan

log = logging.getLogger(__name__)

_STALLED_S = 60.0
"""A tracker that gets nothing further for so long after the sweep's end is given up."""
_INTERRUPTED_S = 10.0
_SAY_AFTER_S = 2.0
_COMMAND = [sys.executable, "-P", "-m", "sweeps.tracking"]
_ROOT = str(Path(__file__).resolve().parents[2])


class Feed:
    """One tracker's process; what is put in goes there in order."""

    def __init__(self, task: Task, errors: Path, tell: Callable[[str], None]) -> None:
        """Start it.

        Args:
            task: What it is to do.
            errors: A file for what it and its library print.
            tell: Told what a user should know, from another thread.
        """
        self.name = task.name
        self.errors = errors
        self._tell = tell
        self._has_failed = False
        self._is_finishing = False
        self._left: tuple[int, int] | None = None
        self._heard = 0.0
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._process = _start(errors)
        self._threads = [
            threading.Thread(target=self._send, args=(task,), daemon=True),
            threading.Thread(target=self._hear, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def put(self, event: Event) -> None:
        """Let it know of an event."""
        if self._process.returncode is None:
            self._queue.put(event)

    def finish(self, *, patience: float, say: Callable[[str], None]) -> None:
        """Wait until all has arrived, as long as something goes on; tell what has not.

        Args:
            patience: So many seconds of silence are enough.
            say: Told what is waited for, where that takes a while.
        """
        self._is_finishing, self._heard = True, time.monotonic()
        self._queue.put(None)
        try:
            self._wait(patience, say)
        except KeyboardInterrupt:  # the sweep is over: this ends the waiting, and no more
            log.warning("interrupted while %s was sent the rest", self.name)
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(1.0)
        self._tell_left()

    def _wait(self, patience: float, say: Callable[[str], None]) -> None:
        said, began = False, time.monotonic()
        while self._process.poll() is None and time.monotonic() - self._heard < patience:
            if not said and time.monotonic() - began > _SAY_AFTER_S:
                said = True
                say(f"sending the rest to {self.name} (Ctrl-C leaves it for caviar resume)")
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)

    def _tell_left(self) -> None:
        if self._left == (0, 0):
            if self._has_failed:
                self._tell(f"{self.name} was sent all that it had missed")
            return
        trials, points = self._left or (0, 0)
        missing = f": {points} reports of {trials} trials are missing" if self._left else ""
        self._tell(
            f"{self.name} was not sent everything{missing}; caviar resume sends the rest. What it "
            f"said is in {self.errors}"
        )

    # Its threads

    def _send(self, task: Task) -> None:
        """Write the task, then events until there are no more, or nobody reads them."""
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(OSError), pipe:
            pipe.write(f"{task.to_json()}\n".encode())
            while (event := self._queue.get()) is not None:
                pipe.write(_line(event))
                if self._queue.empty():
                    pipe.flush()

    def _hear(self) -> None:
        """Take in what it says, until it has ended."""
        pipe = self._process.stdout
        assert pipe is not None
        with pipe:
            for line in pipe:
                self._on_words(json.loads(line))
        code = self._process.wait()
        if not self._is_finishing:
            self._tell(
                f"the process that tells {self.name} of the sweep has ended (code {code}): see "
                f"{self.errors}. The sweep goes on; caviar resume sends what is missing"
            )

    def _on_words(self, words: Mapping[str, Any]) -> None:
        self._heard = time.monotonic()
        if "failed" in words and not self._has_failed:
            self._has_failed = True
            self._tell(
                f"{self.name} cannot be sent anything ({words['failed']}); the sweep goes on, and "
                f"it is tried again"
            )
        if "trials" in words:
            self._left = (words["trials"], words["points"])


def _start(errors: Path) -> subprocess.Popen[bytes]:
    """The process of a tracker; a session of its own, since Ctrl-C is the driver's to answer."""
    errors.parent.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))
    with errors.open("ab") as file:
        return subprocess.Popen(  # noqa: S603 - our own module
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )


def _line(event: Event) -> bytes:
    return json.dumps(encode(event), separators=(",", ":")).encode() + b"\n"


class Feeds:
    """The processes of all trackers of a sweep; an engine's listener."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._feeds: list[Feed] = []

    def start(self, history: int) -> None:
        """Start them.

        Args:
            history: So many events they find in the journal; the further ones they get from here.
        """
        folder = self._plan.folder
        for tracking in self._plan.settings.tracking:
            task = Task(
                name=tracking.name,
                options=tracking.options,
                ledger=f"{tracking.name}-{tracking.destination}.jsonl",
                folder=str(folder.path),
                url=None if folder.remote is None else str(folder.remote.place),
                history=history,
                objective=self._plan.settings.objective,
            )
            errors = folder.tracking(f"{tracking.name}.log")
            self._feeds.append(Feed(task, errors, self._tell))
            self._console.print(Text(f"tracking: {describe(task, folder)}", "dim"), soft_wrap=True)

    def __call__(self, event: Event, trials: Trials) -> None:
        """Let the trackers know of an event that took effect."""
        for feed in self._feeds:
            feed.put(event)

    def finish(self, *, patience: float) -> None:
        """Wait until the trackers have all, or nothing goes on any more."""
        while self._feeds:
            feed = self._feeds.pop(0)
            with working(self._console) as say:
                feed.finish(patience=patience, say=say)
            with suppress(BucketError):
                self._plan.folder.impatient.push(feed.errors)

    def _tell(self, text: str) -> None:
        log.warning("%s", text)
        self._console.print(Text(f"tracking: {text}", "yellow"))


@contextmanager
def following(plan: Plan, console: Console) -> Iterator[Feeds]:
    """Within it the trackers that the sweep is to be shown in follow it, once they are started."""
    feeds = Feeds(plan, console)
    patience = _STALLED_S
    try:
        yield feeds
    except KeyboardInterrupt:
        patience = _INTERRUPTED_S
        raise
    finally:
        feeds.finish(patience=patience)
