"""What there is to know of the training rows, gathered in one pass over the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from models.data.columns import as_text, encode_column, is_feature_number, text_column
from models.data.preprocessing import Column
from models.data.row_groups import RowGroup, Share
from models.data.statistics import Statistics
from models.data.table import target_values


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """What a preprocessing is made of."""

    columns: tuple[Column, ...]
    statistics: Statistics
    """Of the features, over the training rows."""
    classes: pa.Array
    """The values of the target, sorted, over all rows."""


def survey(
    groups: Sequence[RowGroup],
    share: Share,
    *,
    inputs: Mapping[str, pa.DataType],
    target: str,
    categorical: Literal["onehot", "integer"],
) -> Survey:
    """Read all rows once, some at a time; those of `share` are the training rows.

    Raises:
        ValueError: A column is of a type that cannot be used or holds what it must not, or there
            is no training row.
    """
    pass_ = _Pass(inputs, categorical)
    classes: set[Any] = set()
    kind: pa.DataType = pa.null()
    for group in groups:
        for table, hashes in group.read([*inputs, target]):
            values = target_values(target, table[target])
            kind = values.type
            classes.update(pc.unique(values).to_pylist())
            training = np.flatnonzero(share.mask(hashes))
            if len(training):
                pass_.see(table if len(training) == len(table) else table.take(training))
    columns, statistics = pass_.result()
    return Survey(
        columns=columns, statistics=statistics, classes=pa.array(sorted(classes), type=kind)
    )


class _Pass:
    """Moments of the numbers, counts of the categories."""

    def __init__(
        self, inputs: Mapping[str, pa.DataType], categorical: Literal["onehot", "integer"]
    ) -> None:
        self._numbers = {
            name: Column(name=name)
            for name, kind in inputs.items()
            if is_feature_number(name, kind)
        }
        self._counts: dict[str, Counter[str]] = {
            name: Counter() for name in inputs if name not in self._numbers
        }
        self._names = list(inputs)
        self._categorical = categorical
        self._rows = 0
        self._moments: Statistics | None = None

    def see(self, table: pa.Table) -> None:
        """Take in training rows."""
        self._rows += len(table)
        if self._numbers:
            numbers = [encode_column(column, table[name]) for name, column in self._numbers.items()]
            here = Statistics.of(torch.cat(numbers, dim=1))
            self._moments = here if self._moments is None else self._moments.merge(here)
        for name, counts in self._counts.items():
            seen = pc.value_counts(as_text(table[name])).to_pylist()
            counts.update({v["values"]: v["counts"] for v in seen if v["values"] is not None})
            text_column(name, counts.keys(), self._categorical)  # too many are refused at once

    def result(self) -> tuple[tuple[Column, ...], Statistics]:
        """The columns, and the statistics of their features."""
        if not self._rows:
            raise ValueError("data.path, data.validation and data.test leave no row for training")
        columns, parts, numbers = [], [], list(self._numbers)
        for name in self._names:
            if name in self._numbers:
                assert self._moments is not None
                columns.append(self._numbers[name])
                parts.append(self._moments.column(numbers.index(name)))
                _check_finite(name, parts[-1])
            else:
                column = text_column(name, self._counts[name].keys(), self._categorical)
                columns.append(column)
                parts.append(_of_categories(column, self._counts[name], self._rows))
        return tuple(columns), Statistics.joined(parts)


def _check_finite(name: str, s: Statistics) -> None:
    if s.count > 0 and bool((s.low.isinf() | s.high.isinf()).any()):
        raise ValueError(f"column {name!r} holds an infinite value")


def _of_categories(column: Column, counts: Mapping[str, int], rows: int) -> Statistics:
    """The statistics of the features that a column of text becomes, from its counts alone."""
    n = torch.tensor([counts[category] for category in column.categories]).double()
    if column.encoding == "integer":
        codes, known = torch.arange(len(n)).double(), n.sum()
        mean = (codes @ n) / known.clamp(min=1)
        m2 = (codes - mean).square() @ n
        ends = (codes.min(), codes.max()) if len(n) else (torch.inf, -torch.inf)
        values = map(torch.as_tensor, (known, mean, m2, *ends))
        count, mean, m2, low, high = (value.double().view(1) for value in values)
        return Statistics(count=count, mean=mean, m2=m2, low=low, high=high)
    return Statistics(
        count=torch.full_like(n, rows),
        mean=n / rows,
        m2=n * (1 - n / rows),
        low=(n == rows).double(),
        high=torch.ones_like(n),
    )
