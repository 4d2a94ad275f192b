"""Exports started from the page: each `caviar export` in a process of its own.

A model is rebuilt from its app's code, in its app's folder: not in the process of the page.
"""

from __future__ import annotations

import atexit
import shlex
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock, Thread

_LINES = 200
_PATIENCE_S = 5.0


@dataclass
class Export:
    """One that runs or has ended."""

    arguments: Sequence[str]
    began: float
    process: subprocess.Popen[str]
    said: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    """What it printed, line by line."""
    ended: float | None = None

    def __post_init__(self) -> None:
        self.listener = Thread(target=self.listen, name="export", daemon=True)

    @property
    def command(self) -> str:
        """What does the same in a terminal."""
        return shlex.join(["caviar", *self.arguments])

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return None if self.ended is None else self.process.returncode

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return (self.ended or time.time()) - self.began

    def listen(self) -> None:
        """Take in what it prints until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip())
        self.process.wait()
        self.ended = time.time()

    def cancel(self) -> None:
        """End it; what was exported before stays."""
        with suppress(ProcessLookupError):
            self.process.terminate()


class Exports:
    """The last export of each sweep; at most one of a sweep runs."""

    def __init__(self) -> None:
        self._of: dict[str, Export] = {}
        self._lock = Lock()
        atexit.register(self.close)

    def of(self, place: str) -> Export | None:
        """A sweep's, if there was one."""
        return self._of.get(place)

    def start(self, place: str, *flags: str) -> Export:
        """Begin one, unless one of this sweep runs: then that is it."""
        with self._lock:
            running = self._of.get(place)
            if running is not None and running.code is None:
                return running
            arguments = ["export", place, *flags]
            export = Export(arguments=arguments, began=time.time(), process=_begin(arguments))
            self._of[place] = export
            export.listener.start()
        return export

    def wait(self, place: str, timeout_s: float) -> None:
        """Wait until a sweep's has ended."""
        self._of[place].listener.join(timeout_s)

    def close(self) -> None:
        """End those that run."""
        running = [export for export in self._of.values() if export.code is None]
        for export in running:
            export.cancel()
        for export in running:
            try:
                export.process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                export.process.kill()


def _begin(arguments: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-m", "sweeps.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
