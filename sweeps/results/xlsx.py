"""A table as an Excel file."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import ConfigError, SweepError
from sweeps.storage.durable import writing_whole

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_ROWS = 1_048_575
"""Of an Excel sheet, below its header."""
_MOST_TEXT = 32_767
_WIDEST = 40


def write_xlsx(table: pa.Table, path: Path) -> None:
    """Write a table as a sheet with a header, whole; times are UTC, what is not finite is empty.

    Text that begins like a formula stays text.

    Raises:
        ConfigError: openpyxl is not installed.
        SweepError: There are more rows than a sheet holds.
    """
    try:
        from openpyxl import Workbook
        from openpyxl.utils import get_column_letter
    except ImportError as error:
        raise ConfigError("--xlsx needs openpyxl: pip install 'caviar[xlsx]'") from error
    if table.num_rows > _MOST_ROWS:
        raise SweepError(
            f"{table.num_rows} rows are more than an Excel sheet holds ({_MOST_ROWS}): "
            f"use --parquet or --csv, or fewer rows (--filter)"
        )
    book = Workbook(write_only=True)
    sheet = book.create_sheet("results")
    sheet.freeze_panes = "A2"
    for at, name in enumerate(table.column_names, start=1):
        sheet.column_dimensions[get_column_letter(at)].width = min(_WIDEST, len(name) + 2)
    sheet.append([_cell(sheet, name, bold=True) for name in table.column_names])
    for batch in table.to_batches():
        for row in batch.to_pylist():
            sheet.append([_cell(sheet, value) for value in row.values()])
    with writing_whole(path) as file:
        book.save(file)


def _cell(sheet: Any, value: Any, *, bold: bool = False) -> Any:
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
    from openpyxl.styles import Font

    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if not isinstance(value, str):
        return value
    cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("", value)[:_MOST_TEXT])
    cell.data_type = "s"
    if bold:
        cell.font = Font(bold=True)
    return cell
