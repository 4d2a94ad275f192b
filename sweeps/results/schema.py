"""The columns of the two tables: name, Arrow type, unit and meaning; versioned.

Every field of a table carries its unit and meaning in its metadata (`unit`, `doc`); the table's own
metadata hold, as JSON under the key `caviar`, the version and what sweep it is of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from sweeps.errors import SweepError

if TYPE_CHECKING:
    from sweeps.results.sweep import SweepResults

VERSION = 1
"""Of both tables; a later one is refused. A new column does not raise it: readers see it as null in
older tables. A column that goes, or means something else, does."""

TableName = Literal["trials", "metrics"]

TIME = pa.timestamp("ms", tz="UTC")
_KEY = b"caviar"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column, or with a `<...>` in its name a column for each of something."""

    name: str
    type: pa.DataType | None
    """None where it is that of the values."""
    doc: str
    unit: str = ""

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for several columns."""
        return "<" in self.name

    def field(
        self, name: str | None = None, *, kind: pa.DataType | None = None, about: str = ""
    ) -> pa.Field:
        """The Arrow field, its unit and meaning in the metadata.

        Args:
            name: In place of a pattern.
            kind: The type, where this column has none.
            about: Further words on the meaning.
        """
        told = {"doc": f"{self.doc} {about}".strip(), "unit": self.unit}
        return pa.field(name or self.name, self.type or kind, metadata=_filled(told))


def _filled(told: Mapping[str, str]) -> dict[str, str]:
    return {key: text for key, text in told.items() if text}


_STEP = "steps"

TRIALS = (
    Column(
        name="number",
        type=pa.int64(),
        doc="The trial's number, from 0 in the order in which trials were asked for.",
    ),
    Column(
        name="status",
        type=pa.string(),
        doc="running, paused, stopped, complete, diverged or failed.",
    ),
    Column(
        name="value",
        type=pa.float64(),
        unit="that of the objective",
        doc="The objective in the trial's best report, or what the task function returned.",
    ),
    Column(
        name="pareto",
        type=pa.bool_(),
        doc="Whether no other trial beats it in all objectives; only where there are several.",
    ),
    Column(
        name="value.<metric>",
        type=pa.float64(),
        unit="that of the objective",
        doc="A further objective, from the same report as `value`.",
    ),
    Column(
        name="best_step", type=pa.int64(), unit=_STEP, doc="The step of the report with `value`."
    ),
    Column(name="step", type=pa.int64(), unit=_STEP, doc="The highest step reached."),
    Column(
        name="promotions", type=pa.int64(), doc="How often it went on from a rung it paused at."
    ),
    Column(name="losses", type=pa.int64(), doc="How often its process or node died under it."),
    Column(
        name="preemptions",
        type=pa.int64(),
        doc="How often its node was taken away under it, which counts for nothing.",
    ),
    Column(
        name="exploits",
        type=pa.int64(),
        doc="How often it went on from another trial's checkpoint.",
    ),
    Column(
        name="schedule",
        type=pa.string(),
        doc="Where parameters changed on the way to its best model: as JSON, from which step on "
        "which trial trained it with which.",
    ),
    Column(name="retries", type=pa.int64(), doc="How often its task raised and was tried again."),
    Column(
        name="duration_s",
        type=pa.float64(),
        unit="s",
        doc="How long it has trained: time in a slot, pauses not counted.",
    ),
    Column(name="started", type=TIME, unit="ms, UTC", doc="When it was asked for."),
    Column(name="ended", type=TIME, unit="ms, UTC", doc="When it ended for good."),
    Column(
        name="cause",
        type=pa.string(),
        doc="Why it ended so: diverged, out_of_memory, time_limit, request, lost, error, ...",
    ),
    Column(name="error", type=pa.string(), doc="The last line of what it raised."),
    Column(
        name="checkpoint",
        type=pa.string(),
        doc="Its best checkpoint that is still there, else its newest: a folder in the sweep's.",
    ),
    Column(
        name="params.<name>",
        type=None,
        doc="A parameter as the app saw it, in its best report; null where it does not exist. "
        "Text where its values are of several types, lists and mappings as JSON.",
    ),
    Column(
        name="best.<metric>",
        type=pa.float64(),
        doc="A metric in the report with `value`.",
    ),
    Column(
        name="returned.<metric>",
        type=pa.float64(),
        doc="A metric that the task function returned.",
    ),
)
"""`trials.parquet`: one row a trial, by number."""

METRICS = (
    Column(name="trial", type=pa.int64(), doc="The trial's number."),
    Column(
        name="run",
        type=pa.int64(),
        doc="Under which of the sweep's drivers it was reported, counted from 1.",
    ),
    Column(name="step", type=pa.int64(), unit=_STEP, doc="The step that was reported."),
    Column(name="time", type=TIME, unit="ms, UTC", doc="When it was reported."),
    Column(
        name="<metric>",
        type=pa.float64(),
        doc="A metric as reported, null where the report does not have it; called `metric.<name>` "
        "where its name is that of a column above.",
    ),
)
"""`metrics.parquet`: one row a report, by trial and step."""

COLUMNS: Mapping[TableName, tuple[Column, ...]] = {"trials": TRIALS, "metrics": METRICS}


def column(table: TableName, name: str) -> Column:
    """The column of that name or pattern."""
    return next(column for column in COLUMNS[table] if column.name == name)


def ordered(table: TableName, names: Iterable[str]) -> list[str]:
    """Names of a table's columns in the schema's order; those of one pattern as they came."""
    return sorted(names, key=lambda name: _place(table, name))


def _place(table: TableName, name: str) -> int:
    """A column's own place, that of its pattern, or the last."""
    known = COLUMNS[table]
    exact = [i for i, column in enumerate(known) if column.name == name]
    patterns = [
        i
        for i, column in enumerate(known)
        if column.is_pattern and name.startswith(column.name.partition("<")[0])
    ]
    return (exact or patterns or [len(known)])[0]


def about(sweep: SweepResults, table: TableName, **more: Any) -> dict[bytes, bytes]:
    """The metadata of a table."""
    told = {
        "schema": VERSION,
        "table": table,
        "sweep": sweep.record.name,
        "metric": sweep.record.metric,
        "mode": sweep.record.mode,
        "events": sweep.events,
        **more,
    }
    return {_KEY: json.dumps(told).encode()}


def read_about(schema: pa.Schema, *, of: str) -> dict[str, Any]:
    """What a table's metadata say; of one from before there were versions, version 0.

    Args:
        schema: The table's.
        of: What to call it in a message.

    Raises:
        SweepError: It is no table of ours, or of a later version.
    """
    told = (schema.metadata or {}).get(_KEY)
    if told is None:
        raise SweepError(f"{of} is no table of a sweep: its metadata have no {_KEY.decode()!r}")
    read: dict[str, Any] = {"schema": 0, "events": 0, **json.loads(told)}
    if read["schema"] > VERSION:
        raise SweepError(
            f"{of} is of schema version {read['schema']}, written by a newer caviar; this one "
            f"reads up to {VERSION}: update caviar"
        )
    return read
