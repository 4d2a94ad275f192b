"""The tables as they lie in a sweep's folder: whole ones, and parts of one that runs.

While a sweep runs, each table is in parts by trial range (`sweeps.results.parts`); at its end it is
one file. Of a sweep that goes on after that, the parts hold the trials that changed since, and take
the place of those rows in the file.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sweeps.errors import SweepError
from sweeps.journal.segments import journal_mark
from sweeps.results import schema
from sweeps.results.join import joined
from sweeps.results.schema import TableName
from sweeps.storage.folder import SweepFolder

_KEYS: dict[TableName, str] = {"trials": "number", "metrics": "trial"}
_READS = 5
"""So often a reader begins again where the parts become one file under its hands."""


class DamagedTableError(SweepError):
    """A file of a table cannot be read; what it said is in the journal."""


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
        SweepError: A file is no table of a sweep, damaged, or of a later version.
    """
    return Tables(trials=_read(folder, "trials"), metrics=_read(folder, "metrics"))


def fresh_table(folder: SweepFolder, table: TableName) -> pa.Table | None:
    """A table that is written whole and says all that the journal says now; else None.

    A damaged one says nothing.

    Raises:
        SweepError: It is of a later version.
    """
    path = folder.table(table)
    folder.pull(path)
    if not path.exists():
        return None
    try:
        if _about(folder, path).get("journal") != asdict(journal_mark(folder)):
            return None
        return _load(folder, path)
    except DamagedTableError:
        return None


def events_in(folder: SweepFolder, path: Path | None) -> int:
    """How many of the journal's events a file of a table takes in; 0 where there is none.

    Raises:
        SweepError: It is damaged, no table of a sweep, or of a later version.
    """
    if path is None:
        return 0
    folder.pull(path)
    if not path.exists():
        return 0
    return int(_about(folder, path)["events"])


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
    with _telling(folder, path):
        found = pq.read_table(path)
        schema.read_about(found.schema, of=folder.shown(path))
    return found


def _about(folder: SweepFolder, path: Path) -> dict[str, Any]:
    """What a file's metadata say."""
    with _telling(folder, path):
        return schema.read_about(pq.read_schema(path), of=folder.shown(path))


@contextmanager
def _telling(folder: SweepFolder, path: Path) -> Iterator[None]:
    """Of a file that is no Parquet, or broken: pyarrow raises a ValueError or a bare OSError."""
    try:
        yield
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise  # the system's, about the file, and not what is in it
        reason = str(error).partition("\n")[0]
        raise DamagedTableError(
            f"{folder.shown(path)} is damaged ({reason}). Delete it: all that it says is in the "
            f"sweep's journal, which `caviar results --csv` reads, and from which the next "
            f"`caviar resume` writes it again"
        ) from error


def _events(table: pa.Table) -> int:
    return int(schema.read_about(table.schema, of="a table")["events"])


def _without(table: pa.Table, key: str, spans: Iterable[tuple[int, int]]) -> pa.Table:
    """The rows of other trials than these."""
    gone = [number for first, last in spans for number in range(first, last + 1)]
    return table.filter(pc.invert(pc.is_in(table[key], pa.array(gone, pa.int64()))))


def _united(table: TableName, pieces: list[pa.Table]) -> pa.Table:
    """One table of all columns, by trial; the rows of a trial stay in their order."""
    known = [column for column in schema.COLUMNS[table] if not column.is_pattern]
    always = pa.schema([c.field() for c in known if c.name != "pareto"])
    found = joined([*pieces, always.empty_table()])
    order = pc.sort_indices(found, [(_KEYS[table], "ascending")])
    return found.take(order).select(schema.ordered(table, found.column_names))
