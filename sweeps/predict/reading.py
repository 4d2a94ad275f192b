"""Files of rows, read a batch at a time: CSV, Parquet, and NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sweeps.errors import ConfigError, SweepError

_BLOCK = 4 << 20  # bytes of a CSV file at a time
_ROWS = 8192  # of a Parquet file


@dataclass(frozen=True, kw_only=True)
class Table:
    """A file with named columns."""

    names: Sequence[str]
    parsed: bool
    """Whether cells come as text."""
    total: int | None
    """Its rows, where that is known beforehand."""
    batches: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
    """Some of its columns, in the order of the file."""


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except FileNotFoundError:
        raise ConfigError(f"{file} is not there") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise SweepError(f"{file} cannot be read: {said}") from error


def open_table(file: Path, *, delimiter: str | None = None) -> Table:
    """A table by the ending of its file's name.

    Raises:
        ConfigError: It has another ending, or is not there.
        SweepError: It cannot be read.
    """
    endings = [ending for ending in file.suffixes[-2:] if ending not in _PACKED]
    ending = endings[-1].lower() if endings else ""
    if ending not in _OPEN:
        raise ConfigError(
            f"{file} ends with {ending or 'nothing'}; rows are read from {', '.join(_OPEN)} and "
            f".npy files"
        )
    if not file.is_file():
        raise ConfigError(f"{file} is not a file")
    with _readable(file):
        return _OPEN[ending](file, delimiter)


def _csv(file: Path, delimiter: str | None) -> Table:
    import pyarrow.csv as csv

    parse = csv.ParseOptions(delimiter=delimiter or ",")
    read = csv.ReadOptions(block_size=_BLOCK)
    with csv.open_csv(file, read_options=read, parse_options=parse) as reader:
        names = reader.schema.names

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        convert = csv.ConvertOptions(
            column_types={name: pa.string() for name in columns},
            include_columns=list(columns),
            strings_can_be_null=False,
        )
        with (
            _readable(file),
            csv.open_csv(
                file, read_options=read, parse_options=parse, convert_options=convert
            ) as reader,
        ):
            yield from reader

    return Table(names=names, parsed=True, total=None, batches=batches)


def _tsv(file: Path, delimiter: str | None) -> Table:
    return _csv(file, delimiter or "\t")


def _parquet(file: Path, delimiter: str | None) -> Table:
    import pyarrow.parquet as parquet

    if delimiter is not None:
        raise ConfigError(f"--delimiter is of a CSV file, and {file} is Parquet")
    with parquet.ParquetFile(file) as opened:
        names, total = opened.schema_arrow.names, opened.metadata.num_rows

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with _readable(file), parquet.ParquetFile(file) as opened:
            yield from opened.iter_batches(batch_size=_ROWS, columns=list(columns))

    return Table(names=names, parsed=False, total=total, batches=batches)


_OPEN: Mapping[str, Callable[[Path, str | None], Table]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}
_PACKED = (".gz", ".bz2", ".zst", ".lz4")


def open_array(file: Path, shape: Sequence[int]) -> Any:
    """Raw numeric rows `[n, *shape]` of an .npy file, not read yet; nothing pickled is.

    Raises:
        ConfigError: It has another shape, holds no numbers, or is not there.
        SweepError: It cannot be read.
    """
    import numpy as np

    with _readable(file):
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
    if rows.dtype.kind not in "biuf":
        raise ConfigError(f"{file} holds {rows.dtype}; the model takes numbers")
    features = int(np.prod(shape))
    if rows.ndim < 2 or tuple(rows.shape[1:]) not in ((features,), tuple(shape)):
        wanted = f"[n, {features}]" + (f" or [n, {str(tuple(shape))[1:-1]}]" if shape[1:] else "")
        raise ConfigError(f"{file} has shape {rows.shape}; the model takes {wanted}")
    return rows.reshape(len(rows), *shape)
