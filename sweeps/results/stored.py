"""The tables as they lie in a sweep's folder: whole ones, and parts of one that runs.

While a sweep runs, each table is in parts by trial range (`sweeps.results.parts`); at its end it is
one file. Of a sweep that goes on after that, the parts hold the trials that changed since, and take
the place of those rows in the file.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sweeps.journal.segments import journal_mark
from sweeps.results import schema
from sweeps.results.join import joined
from sweeps.results.schema import TableName
from sweeps.storage.folder import SweepFolder

_KEYS: dict[TableName, str] = {"trials": "number", "metrics": "trial"}
_READS = 5
"""So often a reader begins again where the parts become one file under its hands."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Both tables."""

    trials: pa.Table
    metrics: pa.Table


def read_tables(folder: SweepFolder) -> Tables:
    """What is written of both tables, whole or in parts: of a running sweep, some seconds old.

    Parts have different columns where a metric came later, or a parameter changed its type: what
    one lacks is null, and where types do not fit the column is text.

    Raises:
        SweepError: A file is no table of a sweep, or of a later version.
    """
    return Tables(trials=_read(folder, "trials"), metrics=_read(folder, "metrics"))


def fresh_table(folder: SweepFolder, table: TableName) -> pa.Table | None:
    """A table that is written whole and says all that the journal says now; else None.

    Raises:
        SweepError: It is of a later version.
    """
    path = folder.table(table)
    folder.pull(path)
    if not path.exists():
        return None
    about = schema.read_about(pq.read_schema(path), of=folder.shown(path))
    if about.get("journal") != asdict(journal_mark(folder)):
        return None
    return pq.read_table(path)


def events_in(folder: SweepFolder, path: Path) -> int:
    """How many of the journal's events a file of a table takes in; 0 where there is none."""
    folder.pull(path)
    if not path.exists():
        return 0
    return int(schema.read_about(pq.read_schema(path), of=folder.shown(path))["events"])


def _read(folder: SweepFolder, table: TableName) -> pa.Table:
    for again in range(_READS):
        try:
            return _read_once(folder, table)
        except FileNotFoundError:  # the parts have become one file
            time.sleep(0.05 * 2**again)
    return _read_once(folder, table)


def _read_once(folder: SweepFolder, table: TableName) -> pa.Table:
    """Parts before the whole table: where they become one meanwhile, the whole is the newer."""
    parts = {span: _load(folder, path) for span, path in folder.parts(table).items()}
    folder.pull(folder.table(table))
    whole = _load(folder, folder.table(table)) if folder.table(table).exists() else None
    since = 0 if whole is None else _events(whole)
    newer = {span: part for span, part in parts.items() if _events(part) > since}
    kept = [] if whole is None else [_without(whole, _KEYS[table], newer)]
    return _united(table, [*kept, *newer.values()])


def _load(folder: SweepFolder, path: Path) -> pa.Table:
    folder.pull(path)
    found = pq.read_table(path)
    schema.read_about(found.schema, of=folder.shown(path))
    return found


def _events(table: pa.Table) -> int:
    return int(schema.read_about(table.schema, of="a table")["events"])


def _without(table: pa.Table, key: str, spans: Iterable[tuple[int, int]]) -> pa.Table:
    """The rows of other trials than these."""
    number = table[key]
    for first, last in spans:
        other = pc.or_(pc.less(number, first), pc.greater(number, last))
        table = table.filter(other)
        number = table[key]
    return table


def _united(table: TableName, pieces: list[pa.Table]) -> pa.Table:
    """One table of all columns, by trial; the rows of a trial stay in their order."""
    known = [column for column in schema.COLUMNS[table] if not column.is_pattern]
    always = pa.schema([c.field() for c in known if c.name != "pareto"])
    found = joined([*pieces, always.empty_table()])
    order = pc.sort_indices(found, [(_KEYS[table], "ascending")])
    return found.take(order).select(schema.ordered(table, found.column_names))
