"""Row groups of Parquet files, and which of their rows belong to a split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

SLICE_ROWS = 8192
"""Rows that are decoded at a time."""

_PAGE_BY_PAGE = {"pre_buffer": False, "buffer_size": 1 << 16}
"""Otherwise a reader holds the bytes of a whole row group."""


@dataclass(frozen=True)
class Share:
    """The rows whose hash lies in [low, high), which is about that share of them."""

    low: float = 0.0
    high: float = 1.0

    def mask(self, hashes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Which rows belong to it."""
        return (hashes >= self.low) & (hashes < self.high)


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """One row group of a file; it is opened when it is read."""

    file: Path
    index: int
    """In its file."""
    first: int
    """Number of its first row in the file."""
    rows: int
    key: int
    """Of the hashes of the file's rows."""

    def count(self, share: Share) -> int:
        """Rows that belong to a share; reads nothing."""
        if share == Share():
            return self.rows
        end = self.first + self.rows
        return sum(
            int(share.mask(row_hashes(self.key, row, min(row + SLICE_ROWS, end))).sum())
            for row in range(self.first, end, SLICE_ROWS)
        )

    def read(self, columns: list[str]) -> Iterator[tuple[pa.Table, np.ndarray[Any, Any]]]:
        """All rows, a slice at a time, with their hashes.

        Raises:
            ValueError: The file is damaged.
        """
        with readable(self.file), pa.parquet.ParquetFile(self.file, **_PAGE_BY_PAGE) as file:
            row = self.first
            for batch in file.iter_batches(SLICE_ROWS, row_groups=[self.index], columns=columns):
                hashes = row_hashes(self.key, row, row + len(batch))
                yield pa.Table.from_batches([batch]), hashes
                row += len(batch)

    def read_share(
        self, columns: list[str], share: Share, *, start: int, stop: int
    ) -> Iterator[pa.Table]:
        """Rows `start` to `stop` of those that belong to a share."""
        for table, hashes in self.read(columns):
            chosen = np.flatnonzero(share.mask(hashes))
            rows = chosen[max(0, start) : max(0, stop)]
            if len(rows) == len(table):
                yield table
            elif len(rows):
                yield table.take(rows)
            start, stop = start - len(chosen), stop - len(chosen)
            if stop <= 0:
                return


def row_groups(files: Sequence[Path], *, seed: int) -> list[RowGroup]:
    """The row groups of files, in order; those without rows are left out.

    The hashes of a file's rows depend on `seed` and on the file's name, so that a further file
    moves no row from one split to another.

    Raises:
        ValueError: A file is not Parquet or damaged.
    """
    groups = []
    for file in files:
        metadata, first = read_metadata(file), 0
        key = hashlib.blake2b(f"{seed}/{file.name}".encode(), digest_size=8).digest()
        for index in range(metadata.num_row_groups):
            rows = metadata.row_group(index).num_rows
            group = RowGroup(
                file=file, index=index, first=first, rows=rows, key=int.from_bytes(key, "big")
            )
            groups += [group] if rows else []
            first += rows
    return groups


def read_metadata(file: Path) -> pa.parquet.FileMetaData:
    """What a Parquet file says of itself.

    Raises:
        ValueError: It is damaged or none.
    """
    with readable(file):
        return pa.parquet.read_metadata(file)


def read_schema(file: Path) -> pa.Schema:
    """The columns of a Parquet file.

    Raises:
        ValueError: It is damaged or none.
    """
    with readable(file):
        return pa.parquet.read_schema(file)


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Name a file that cannot be read.

    Raises:
        ValueError: It cannot.
    """
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"data.path: cannot read {file}: {error}") from error


def row_hashes(key: int, start: int, stop: int) -> np.ndarray[Any, Any]:
    """A number in [0, 1) for each row number from `start` to `stop`, evenly spread.

    SplitMix64 (Steele, Lea and Flood 2014, Fast splittable pseudorandom number generators) at the
    position of the row in the sequence that begins at `key`.
    """
    z = np.arange(start + 1, stop + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)) * 2.0**-53


def read_footer(file: Path) -> bytes:
    """A file's own description, as its bytes: the last 8 say how long it is."""
    with file.open("rb") as stream:
        stream.seek(-8, os.SEEK_END)
        length = int.from_bytes(stream.read(4), "little")
        stream.seek(-8 - length, os.SEEK_END)
        return stream.read(length)
