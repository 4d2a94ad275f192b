"""Cells of a column to numbers, as training read them; what cannot be read is told by its row."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from sweeps.errors import ConfigError

_NUMBERS = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_decimal,
    pa.types.is_null,
)


def text_numbers(values: pa.Array, *, column: str, first_row: int) -> Any:
    """Text of a CSV file as float64; what pyarrow takes for missing is NaN, true is 1.

    Args:
        values: Strings `[n]`.
        column: Its name, for messages.
        first_row: Number of the first of these rows, for messages.

    Raises:
        ConfigError: A cell is no number.
    """
    trimmed = pc.utf8_trim_whitespace(values)
    known = pc.replace_with_mask(trimmed, pc.is_in(trimmed, _missing()), pa.scalar("nan"))
    for words, number in zip(_booleans(), ("1", "0"), strict=True):
        known = pc.replace_with_mask(known, pc.is_in(known, words), pa.scalar(number))
    try:
        return known.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        row = next(i for i, cell in enumerate(known) if not _is_number(cell))
        raise ConfigError(
            f"row {first_row + row}, column {column!r}: {values[row].as_py()!r} is not a number"
        ) from error


def typed_numbers(values: pa.Array, *, column: str) -> Any:
    """A column of a Parquet file as float64; null is NaN.

    Raises:
        ConfigError: It holds no numbers.
    """
    kind = values.type
    if not any(is_kind(kind) for is_kind in _NUMBERS):
        raise ConfigError(f"column {column!r} holds {kind}; the model takes numbers there")
    floats = pc.fill_null(values.cast(pa.float64()), float("nan"))
    return floats.to_numpy(zero_copy_only=False)


def text_of(values: pa.Array, *, column: str) -> pa.Array:
    """A column of categories as text.

    Raises:
        ConfigError: It holds something else.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.cast(kind.value_type), kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise ConfigError(f"column {column!r} holds {kind}; the model takes text there")
    return values.cast(pa.large_string())


def check_finite(numbers: Any, *, column: str, first_row: int, missing: bool) -> None:
    """See that a column has no infinite number, and none missing where there may be none.

    Raises:
        ConfigError: It has one.
    """
    bad = np.isinf(numbers) if missing else ~np.isfinite(numbers)
    if bad.any():
        row = int(bad.argmax())
        what = "missing" if np.isnan(numbers[row]) else f"{numbers[row]}"
        rule = "a finite number" if missing else "a finite number: this model takes no missing ones"
        raise ConfigError(
            f"row {first_row + row}, column {column!r} is {what}; the model takes {rule}"
        )


def _is_number(cell: pa.Scalar) -> bool:
    try:
        cell.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


@cache
def _missing() -> pa.Array:
    return pa.array(pyarrow.csv.ConvertOptions().null_values)


@cache
def _booleans() -> tuple[pa.Array, pa.Array]:
    options = pyarrow.csv.ConvertOptions()
    words = (set(options.true_values) - {"1"}, set(options.false_values) - {"0"})
    true, false = (pa.array(sorted(of)) for of in words)
    return true, false
