"""Predictions to a file, CSV or Parquet: whole, or not at all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from sweeps.errors import ConfigError, SweepError
from sweeps.storage.durable import writing_whole

Write = Callable[[pa.Table], None]


@contextmanager
def writing(file: Path | None, schema: pa.Schema) -> Iterator[Write]:
    """What takes tables of a schema, one after the other; None is standard output, as CSV.

    Raises:
        SweepError: The file cannot be written.
    """
    if file is None:
        with _csv(sys.stdout.buffer, schema) as writer:
            yield writer.write_table
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with writing_whole(file) as stream, _WRITERS[file.suffix.lower()](stream, schema) as writer:
            yield writer.write_table
    except OSError as error:
        raise SweepError(f"{file} cannot be written: {error.strerror or error}") from error


def check_ending(file: Path | None) -> None:
    """See that a file's name says what it is to hold.

    Raises:
        ConfigError: It does not.
    """
    if file is not None and file.suffix.lower() not in _WRITERS:
        raise ConfigError(f"-o is {str(file)!r}; it must end with {' or '.join(_WRITERS)}")


def _csv(stream: Any, schema: pa.Schema) -> Any:
    import pyarrow.csv as csv

    return csv.CSVWriter(stream, schema)


def _parquet(stream: Any, schema: pa.Schema) -> Any:
    import pyarrow.parquet as parquet

    return parquet.ParquetWriter(stream, schema, compression="zstd")


_WRITERS: Mapping[str, Callable[[Any, pa.Schema], Any]] = {".csv": _csv, ".parquet": _parquet}
