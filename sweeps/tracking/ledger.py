"""What a tracker has been sent of each trial: a file of lines that only grows."""

from __future__ import annotations

import fcntl
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.journal.status import Status


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
    """One tracker's, with one writer: it waits until a process of an earlier driver has ended."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("a+", encoding="utf-8")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._sent: dict[int, Sent] = {}
        self._read()

    def __getitem__(self, trial: int) -> Sent:
        return self._sent.get(trial, Sent())

    @property
    def is_empty(self) -> bool:
        """Whether nothing was sent, as far as is known."""
        return not self._sent

    def note(self, trial: int, sent: Sent) -> None:
        """Keep what has been sent of a trial; it outlives this process."""
        self._sent[trial] = sent
        line = json.dumps([trial, sent.points, sent.status, sent.id], separators=(",", ":"))
        self._file.write(f"{line}\n")
        self._file.flush()

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
