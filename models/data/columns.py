"""Columns of an Arrow table to numbers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from models.data.preprocessing import Column

MAX_CATEGORIES = 1000


def fit_column(
    name: str, values: pa.ChunkedArray, categorical: Literal["onehot", "integer"]
) -> Column:
    """How a column becomes features, learned from its training rows.

    Raises:
        ValueError: The column's type is neither a number nor text, or it has too many values.
    """
    if is_feature_number(name, values.type):
        return Column(name=name)
    return text_column(name, pc.unique(as_text(values)).drop_null().to_pylist(), categorical)


def is_feature_number(name: str, kind: pa.DataType) -> bool:
    """Whether a column that is to become features holds numbers; else it holds text.

    Raises:
        ValueError: It holds neither.
    """
    if not (is_number(kind) or is_text(kind)):
        raise ValueError(
            f"column {name!r} has type {kind}; only numbers, booleans and text become "
            f"features: leave it out with data.drop=[{name}]"
        )
    return is_number(kind)


def text_column(
    name: str, categories: Collection[str], categorical: Literal["onehot", "integer"]
) -> Column:
    """A column of text with the values that training has seen.

    Raises:
        ValueError: There are too many.
    """
    if categorical == "onehot" and len(categories) > MAX_CATEGORIES:
        raise ValueError(
            f"column {name!r} has {len(categories)} different values, more than {MAX_CATEGORIES}: "
            f"set data.categorical=integer, or leave it out with data.drop=[{name}]"
        )
    return Column(name=name, encoding=categorical, categories=tuple(sorted(categories)))


def encode_column(column: Column, values: pa.ChunkedArray) -> Tensor:
    """The features `[n, k]` of one column, float64; a missing number is NaN.

    Raises:
        ValueError: Numbers where training had text, or the other way round.
    """
    if column.encoding == "number":
        if not is_number(values.type):
            raise ValueError(f"column {column.name!r} holds {values.type}; expected numbers")
        return _numbers(values).unsqueeze(1)
    if not is_text(values.type):
        raise ValueError(f"column {column.name!r} holds {values.type}; expected text")
    known = pa.array(column.categories, pa.large_string())
    codes = _numbers(pc.index_in(as_text(values), value_set=known))
    if column.encoding == "integer":
        return codes.unsqueeze(1)
    return (codes.unsqueeze(1) == torch.arange(len(column.categories)).double()).double()


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type is a feature as it stands."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type is categorical."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)
    )


def as_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A text or dictionary column as plain text."""
    return without_dictionary(values).cast(pa.large_string())


def without_dictionary(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A dictionary column as its values."""
    is_dictionary = pa.types.is_dictionary(values.type)
    return values.cast(values.type.value_type) if is_dictionary else values


def _numbers(values: pa.ChunkedArray) -> Tensor:
    floats = pc.fill_null(values.cast(pa.float64()), float("nan"))
    return torch.from_numpy(floats.to_numpy().copy())
