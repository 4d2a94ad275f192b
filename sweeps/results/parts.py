"""The tables of a sweep that runs, in parts by trial range, from its events alone.

    tables/trials-000000-000099.parquet     the rows of the first hundred trials
    tables/metrics-000000-000099.parquet    their reports

A part is written anew when something of its trials happened since, the one that waited longest
first, and of each call so many rows at most: the work of a call never grows with the sweep. A part
says how many of the journal's events it takes in, so that a reader, or the next driver, knows which
of two is newer.
"""

from __future__ import annotations

from sweeps.journal.events import Closed, Created, Event, Known, Opened, Requested
from sweeps.journal.status import Status
from sweeps.results.files import write_parquet
from sweeps.results.fold import Fold
from sweeps.results.sweep import SweepResults
from sweeps.storage.folder import Record, SweepFolder

TRIALS = 100
"""Of a part."""

_ROWS = 20_000
_TABLES = ("trials", "metrics")


class Parts:
    """What is written of the tables, and what is not yet; of one thread."""

    def __init__(self, folder: SweepFolder, record: Record, *, rows: int = _ROWS) -> None:
        """Nothing is written so far.

        Args:
            folder: The sweep's.
            record: What was asked of it.
            rows: After so many a call of `write` ends; it writes one part at least.
        """
        self._folder = folder
        self._record = record
        self._rows = rows
        self._fold = Fold(record)
        self._touched: dict[int, int] = {}
        """By part: how many events there were with the last that is about its trials."""
        self._unwritten: dict[int, None] = {}
        """The parts that are not up to date, those that waited longest first."""

    @property
    def is_written(self) -> bool:
        """Whether the parts say all that the events said."""
        return not self._unwritten

    def take(self, event: Event) -> None:
        """Take an event in."""
        self._fold.apply(event)
        match event:
            case Created():  # the space's parameters are columns
                self._touch(*self._touched)
            case Opened():  # what was stopped since the sweep was over is open again
                still = self._fold.trials.with_status(Status.RUNNING, Status.PAUSED)
                self._touch(*{trial.number // TRIALS for trial in still})
            case Known() | Requested() | Closed():
                pass
            case _:
                self._touch(event.trial // TRIALS)

    def find_written(self) -> None:
        """Look at what an earlier driver wrote, after its events were taken in.

        Where that is more than the journal holds, the journal was cut since: it is deleted. So it
        is where a file is damaged.
        """
        from sweeps.results.stored import DamagedTableError, events_in

        if not self._touched:
            return
        there = {name: self._folder.parts(name) for name in _TABLES}
        try:
            whole = [events_in(self._folder, self._folder.table(name)) for name in _TABLES]
            parts = {
                part: [events_in(self._folder, there[n].get(self._span(part))) for n in _TABLES]
                for part in self._touched
            }
        except DamagedTableError:
            self._folder.discard_tables()
            return
        if max(map(max, (whole, *parts.values()))) > self._fold.events:
            self._folder.discard_tables()
            return
        for part, events in self._touched.items():
            if max(min(whole), min(parts[part])) >= events:
                self._unwritten.pop(part, None)

    def write(self) -> None:
        """Write parts that are not up to date, up to the limit of rows.

        Raises:
            OSError: The disk refused; what was not written is still to be.
            BucketError: The bucket did.
        """
        sweep = SweepResults.of(self._folder, self._record, self._fold)
        rows = 0
        while self._unwritten and rows < self._rows:
            part = next(iter(self._unwritten))
            rows += self._write(sweep, part)
            del self._unwritten[part]

    def _touch(self, *parts: int) -> None:
        for part in parts:
            self._touched[part] = self._fold.events
            self._unwritten.setdefault(part)

    def _write(self, sweep: SweepResults, part: int) -> int:
        """Write a part of both tables, reports first; how many rows that were."""
        from sweeps.results.tables import metrics_table, trials_table

        first, last = self._span(part)
        trials = [sweep.trials[n] for n in range(first, min(last + 1, len(sweep.trials)))]
        made = {
            "metrics": metrics_table(sweep, trials, part=[first, last]),
            "trials": trials_table(sweep, trials, part=[first, last]),
        }
        for name, table in made.items():
            path = self._folder.part(name, first, last)
            path.parent.mkdir(exist_ok=True)
            write_parquet(table, path)
            self._folder.impatient.push(path)
        return sum(table.num_rows for table in made.values())

    @staticmethod
    def _span(part: int) -> tuple[int, int]:
        return part * TRIALS, (part + 1) * TRIALS - 1
