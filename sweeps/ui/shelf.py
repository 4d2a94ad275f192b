"""All sweeps of a folder or a bucket, each in a line; a broken one is a line that says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Literal

from cluster.bucket import Bucket
from sweeps.journal.following import fingerprint
from sweeps.journal.status import Status
from sweeps.results import SweepResults
from sweeps.storage.folder import SweepFolder, list_sweeps
from sweeps.storage.lease import seems_driven
from sweeps.ui.live import LiveSweep

State = Literal["running", "done", "interrupted", "failed", "no driver", "unreadable", "reading"]
"""How a sweep stands: as its driver closed it; still open, with a living driver or without."""

_BUDGET_S = 0.5
"""So long one look may read sweeps that were not read before; the others are read at the next."""

_VIEWED_S = 300.0
_SHARE = 0.1
"""Of the time at most so much is spent on looking, however slow the storage is."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A sweep in the list."""

    name: str
    state: State
    done: int = 0
    total: int = 0
    """Trials that have ended, and that were asked for."""
    failed: int = 0
    metric: str = ""
    best: float | None = None
    began: float | None = None
    last: float | None = None
    """When its last event was."""
    trouble: str = ""
    """Why it cannot be read."""

    @property
    def is_known(self) -> bool:
        """Whether it was read."""
        return self.state not in ("unreadable", "reading")

    @property
    def share(self) -> float:
        """How far it is, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0


@dataclass
class _Kept:
    """What is remembered of a sweep."""

    row: Row
    folder: SweepFolder | None = None
    live: LiveSweep | None = None
    print: object = None
    """Its fingerprint when the row was made; None where it has to be looked at again."""
    viewed: float = 0.0


@dataclass
class Shelf:
    """The sweeps under a storage path, for any number of readers.

    Of one that nobody drives and nobody looks at, only its row is kept in memory.
    """

    storage: Path | Bucket
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _rows: list[Row] = field(default_factory=list)
    _next_look: float = 0.0

    def rows(self) -> list[Row]:
        """A row a sweep, newest first.

        Raises:
            ClusterError: The bucket cannot be reached or read.
        """
        with self._lock:
            began = time.monotonic()
            if began >= self._next_look:
                self._rows = self._look(began)
                took = min(time.monotonic() - began, _BUDGET_S)
                self._next_look = began + took / _SHARE
            return self._rows

    def __contains__(self, name: str) -> bool:
        """Whether there is such a sweep."""
        return name in self._names()

    def open(self, name: str) -> LiveSweep:
        """A sweep, to look into.

        Raises:
            ClusterError: The bucket cannot be reached or read.
        """
        with self._lock:
            kept = self._keep(name)
            kept.viewed = time.monotonic()
            return self._live(kept)

    def _keep(self, name: str) -> _Kept:
        return self._kept.setdefault(name, _Kept(Row(name=name, state="reading")))

    def _live(self, kept: _Kept) -> LiveSweep:
        kept.folder = kept.folder or SweepFolder.at(self.storage, kept.row.name)
        kept.live = kept.live or LiveSweep(kept.folder)
        return kept.live

    def _look(self, began: float) -> list[Row]:
        names = self._names()
        for gone in self._kept.keys() - set(names):
            del self._kept[gone]
        rows = []
        for name in names:
            kept = self._keep(name)
            if kept.row.state != "reading" or time.monotonic() < began + _BUDGET_S:
                self._refresh(kept)
            rows.append(kept.row)
        return rows

    def _names(self) -> list[str]:
        """Newest first; on a disk those too whose record is missing."""
        names = list_sweeps(self.storage)[::-1]
        if isinstance(self.storage, Bucket):
            return names
        there = {path.parent.name for path in self.storage.glob("*/journal.log")}
        return [*names, *sorted(there - set(names))]

    def _refresh(self, kept: _Kept) -> None:
        try:
            live = self._live(kept)
            print_ = fingerprint(live.folder)
            if print_ != kept.print and not live.is_busy:
                kept.row = row_of(live)
                kept.print = None if kept.row.state == "running" else print_
        except FileNotFoundError as error:
            self._note_trouble(kept, f"{Path(error.filename or str(error)).name} is missing")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one, others are shown
            self._note_trouble(kept, str(error) or type(error).__name__)
        viewed = time.monotonic() < kept.viewed + _VIEWED_S
        if kept.row.state != "running" and not viewed:
            kept.live = None

    def _note_trouble(self, kept: _Kept, trouble: str) -> None:
        kept.live, kept.print = None, None
        kept.row = Row(name=kept.row.name, state="unreadable", trouble=trouble)


def row_of(live: LiveSweep) -> Row:
    """A sweep's row as it is now.

    Raises:
        SweepError: It cannot be read.
    """
    with live.reading() as sweep:
        counted = list(_standing(sweep))
        best = sweep.best
        return Row(
            name=live.folder.name,
            state=state_of(sweep),
            done=sum(status not in (Status.RUNNING, Status.PAUSED) for status in counted),
            total=sweep.num_samples,
            failed=counted.count(Status.FAILED),
            metric=sweep.objective.metric,
            best=None if best is None else best.value,
            began=sweep.trials.created,
            last=live.last,
        )


def state_of(sweep: SweepResults) -> State:
    """How a sweep stands; of one that its driver did not close, whether a driver lives."""
    closed = sweep.trials.closed
    if closed is None:
        return "running" if seems_driven(sweep.folder.lease) else "no driver"
    known: dict[str, State] = {"done": "done", "failed": "failed"}
    return known.get(closed.reason, "interrupted")


def _standing(sweep: SweepResults) -> Iterator[Status]:
    return (sweep.status(trial) for trial in sweep.trials)
