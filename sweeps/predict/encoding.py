"""Rows of a table to the numeric rows that a model takes, by its signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sweeps.errors import ConfigError, did_you_mean
from sweeps.export.signature import Column, Signature
from sweeps.predict.cells import check_finite, text_numbers, text_of, typed_numbers


@dataclass
class Unknown:
    """Categories of a column that training had not seen."""

    cells: int
    first: str
    row: int


class Encoder:
    """Encodes batches in their order.

    Numbers stand as they are. Of text a category becomes its position (`integer`), or a 1 among
    zeros (`onehot`); one that training had not seen becomes a missing number, or zeros alone.

    Args:
        signature: The model's.
        parsed: Whether all cells come as text, as those of a CSV file do.
    """

    def __init__(self, signature: Signature, *, parsed: bool):
        self._signature = signature
        self._parsed = parsed
        self.rows = 0
        """Encoded so far."""
        self.unknown: dict[str, Unknown] = {}
        """By column."""

    def __call__(self, batch: pa.RecordBatch) -> Any:
        """Rows `[n, *shape]` of the model's own type.

        Raises:
            ConfigError: A cell cannot be read; it is named.
        """
        parts = [self._column(column, batch.column(column.name)) for column in self._columns]
        self.rows += batch.num_rows
        rows = np.concatenate(parts, axis=1).astype(self._signature.dtype, copy=False)
        return rows.reshape(len(rows), *self._signature.shape)

    @property
    def _columns(self) -> Sequence[Column]:
        return self._signature.columns

    def _column(self, column: Column, values: pa.Array) -> Any:
        first_row = self.rows + 1
        if column.encoding == "number":
            if self._parsed:
                numbers = text_numbers(values, column=column.name, first_row=first_row)
            else:
                numbers = typed_numbers(values, column=column.name)
        else:
            numbers = self._positions(column, text_of(values, column=column.name))
            if column.encoding == "onehot":
                known = np.arange(len(column.categories))
                return (numbers[:, None] == known).astype(np.float64)
        missing = self._signature.missing is not None
        check_finite(numbers, column=column.name, first_row=first_row, missing=missing)
        return numbers[:, None]

    def _positions(self, column: Column, text: pa.Array) -> Any:
        """Of each category among those of training, float64; NaN where it is not among them."""
        known = pa.array(column.categories, pa.large_string())
        codes = pc.index_in(text, value_set=known)
        strange = pc.and_(codes.is_null(), text.is_valid())
        if (count := pc.sum(strange).as_py()) and count > 0:
            row = pc.index(strange, True).as_py()
            seen = Unknown(cells=0, first=text[row].as_py(), row=self.rows + 1 + row)
            self.unknown.setdefault(column.name, seen).cells += count
        return pc.fill_null(codes.cast(pa.float64()), float("nan")).to_numpy(zero_copy_only=False)


def match_columns(signature: Signature, names: Sequence[str], *, where: str) -> list[str]:
    """The columns of a file that the model does not take; those that it takes are all there.

    Raises:
        ConfigError: Some are missing, or there are two of a name.
    """
    wanted = [column.name for column in signature.columns]
    for name in [*wanted]:
        if (times := list(names).count(name)) > 1:
            raise ConfigError(f"{where} has {times} columns {name!r}")
    missing = [name for name in wanted if name not in names]
    if missing:
        free = [name for name in names if name not in wanted]
        shown = ", ".join(f"{name!r}{did_you_mean(name, free)}" for name in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ConfigError(f"{where} lacks {len(missing)} of {len(wanted)} columns: {shown}{more}")
    return [name for name in names if name not in wanted]
