"""What a tracker has been sent of each trial: a file of lines that only grows."""

from __future__ import annotations

import fcntl
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.errors import SweepError
from sweeps.journal.status import Status

_WAIT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What a tracker has of a trial."""

    id: str | None = None
    """The run's, as the tracker names it; none yet without."""
    points: int = 0
    """So many, counted as `Runs` counts them."""
    status: Status | None = None
    """What was shown last."""


class Ledger:
    """One tracker's, with one writer."""

    def __init__(self, path: Path) -> None:
        """Open it, once a process of an earlier driver has let it go.

        Raises:
            SweepError: That one does not end.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("a+", encoding="utf-8")
        try:
            self._lock()
        except SweepError:
            self._file.close()
            raise
        self._sent: dict[int, Sent] = {}
        self._read()

    def __getitem__(self, trial: int) -> Sent:
        return self._sent.get(trial, Sent())

    def note(self, trial: int, sent: Sent) -> None:
        """Keep what has been sent of a trial; it outlives this process."""
        self._sent[trial] = sent
        line = json.dumps([trial, sent.points, sent.status, sent.id], separators=(",", ":"))
        self._file.write(f"{line}\n")
        self._file.flush()

    def close(self) -> None:
        """Let the next writer have it."""
        self._file.close()

    def _lock(self) -> None:
        deadline = time.monotonic() + _WAIT_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SweepError(
                        f"{self.path} is held by the process of an earlier driver, which does not "
                        f"end: end it, and resume the sweep"
                    ) from None
            time.sleep(0.1)

    def _read(self) -> None:
        """Take in what is there; a torn last line, of a machine that went down, is cut off."""
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind("\n") + 1]
        for line in whole.splitlines():
            trial, points, status, name = _fields(line)
            status = None if status is None else Status(status)
            self._sent[trial] = Sent(id=name, points=points, status=status)
        if whole != text:
            self._file.truncate(len(whole.encode()))


def _fields(line: str) -> tuple[int, int, Any, str | None]:
    trial, points, status, name = json.loads(line)
    return trial, points, status, name
