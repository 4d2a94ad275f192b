"""A table as a file: Parquet, CSV, JSON."""

from __future__ import annotations

import json
import math
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.storage.durable import write_whole, writing_whole

if TYPE_CHECKING:
    import pyarrow as pa


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a Parquet file so that a reader sees the old table or the new, never a part."""
    import pyarrow.parquet as pq

    with writing_whole(path) as file:
        pq.write_table(table, file, compression="zstd")


def write_csv(table: pa.Table, path: Path | None) -> None:
    """Write a table as CSV with a header: to a file, whole, or to standard output."""
    import pyarrow as pa
    import pyarrow.csv

    buffer = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, buffer)
    _write_text(buffer.getvalue().to_pybytes().decode(), path)


def write_json(table: pa.Table, path: Path | None) -> None:
    """Write a table as a JSON list of objects; what is not finite is null, times are ISO 8601."""
    rows = [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]
    _write_text(json.dumps(rows, indent=2, allow_nan=False) + "\n", path)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_text(text: str, path: Path | None) -> None:
    if path is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        write_whole(path, text)
