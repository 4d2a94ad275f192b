"""Tables on a terminal: of chosen columns, and of things side by side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from sweeps import render
from sweeps.results.compare import Row


def rows_table(table: pa.Table) -> Table:
    """An Arrow table as it is, its columns called as few words as tell them apart."""
    shown = _empty()
    short = render.short_names(table.column_names)
    for field in table.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        shown.add_column(
            Text(short[field.name]), justify="right" if number else "left", overflow="fold"
        )
    for row in table.to_pylist():
        shown.add_row(*(Text(_cell(value)) for value in row.values()))
    return shown


def side_by_side(rows: Sequence[Row], labels: Sequence[str], *, about: str) -> Table:
    """A column for each thing; a row in which they differ is marked, the others are dim."""
    shown = _empty()
    shown.add_column("", no_wrap=True)
    shown.add_column(about, no_wrap=True)
    for label in labels:
        shown.add_column(Text(label), overflow="fold")
    for row in rows:
        cells = (Text(cell) for cell in row.cells)
        mark = Text("≠", "yellow") if row.differs else Text()
        shown.add_row(mark, Text(row.name), *cells, style="" if row.differs else "dim")
    return shown


def _empty() -> Table:
    return Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, border_style="dim")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return render.number(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return render.parameter(value)
