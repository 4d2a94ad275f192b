"""From raw rows to what a network takes; travels with checkpoints and exports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from models.choices import miss

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Standardize = Literal["feature", "global", "none"]
Encoding = Literal["number", "onehot", "integer"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a raw table and how it becomes features."""

    name: str
    encoding: Encoding = "number"
    categories: tuple[str, ...] = ()
    """Values seen in training, sorted; empty for numbers."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features it becomes."""
        if self.encoding == "onehot":
            return tuple(f"{self.name}={category}" for category in self.categories)
        return (self.name,)


@dataclass(frozen=True, kw_only=True, eq=False)
class Preprocessing:
    """Standardisation and encodings, all learned from the training split.

    A missing number becomes the training mean. A category that training had not seen becomes all
    zeros (`onehot`) or a missing number (`integer`).
    """

    columns: tuple[Column, ...]
    classes: tuple[str, ...]
    """Names of the classes, in the order of the logits."""
    mean: Tensor
    """`[features]`, float64."""
    std: Tensor
    """`[features]`, float64, none of them zero."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the network's inputs."""
        return tuple(name for column in self.columns for name in column.features)

    def transform(self, rows: Tensor | np.ndarray[Any, Any] | Sequence[Sequence[float]]) -> Tensor:
        """Standardise raw numeric rows `[n, features]`; the result is float32.

        Doubles are standardised as doubles, so that large offsets such as times keep their digits.

        Raises:
            ValueError: The number of columns is wrong, or a value is infinite.
        """
        x = torch.as_tensor(rows)
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise ValueError(
                f"rows have shape {tuple(x.shape)}; expected [n, {len(self.mean)}] "
                f"({', '.join(self.features[:3])}, ...)"
            )
        x = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32, copy=True)
        if bool(x.isinf().any()):
            column = int(x.isinf().any(dim=0).nonzero()[0])
            raise ValueError(f"rows hold an infinite value in {self.features[column]!r}")
        x.sub_(self.mean.to(x.dtype)).div_(self.std.to(x.dtype))
        return x.nan_to_num_(0.0).float()

    def encode(self, table: pa.Table) -> Tensor:
        """Raw numeric rows `[n, features]`, float64, of a table with the columns by name.

        Columns that are not features are ignored.

        Raises:
            ValueError: A column is missing, or holds something else than in training.
        """
        from models.data.columns import encode_column

        for column in self.columns:
            if column.name not in table.column_names:
                raise ValueError(miss(column.name, table.column_names, key="a column of the rows"))
        return torch.cat([encode_column(c, table[c.name]) for c in self.columns], dim=1)

    def equals(self, other: Preprocessing) -> bool:
        """Whether both do the same to every row."""
        return (
            (self.columns, self.classes) == (other.columns, other.classes)
            and torch.equal(self.mean, other.mean)
            and torch.equal(self.std, other.std)
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain containers and two tensors, for a checkpoint."""
        columns = [
            {"name": c.name, "encoding": c.encoding, "categories": list(c.categories)}
            for c in self.columns
        ]
        classes = list(self.classes)
        return {"columns": columns, "classes": classes, "mean": self.mean, "std": self.std}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`; the statistics may be lists.

        Raises:
            ValueError: The values are not a preprocessing's.
        """
        try:
            columns = tuple(
                Column(name=c["name"], encoding=c["encoding"], categories=tuple(c["categories"]))
                for c in values["columns"]
            )
            return cls(
                columns=columns,
                classes=tuple(values["classes"]),
                mean=torch.as_tensor(values["mean"], dtype=torch.float64),
                std=torch.as_tensor(values["std"], dtype=torch.float64),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a preprocessing: {error!r}") from error

    def to_json(self) -> str:
        """As strict JSON."""
        values = self.to_dict() | {"mean": self.mean.tolist(), "std": self.std.tolist()}
        return json.dumps(values, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """The inverse of `to_json`.

        Raises:
            ValueError: The text is not JSON, or not a preprocessing's.
        """
        return cls.from_dict(json.loads(text))


def fit_statistics(train: Tensor, standardize: Standardize) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `[features]` of raw training rows, in float64.

    `feature` takes them column by column, `global` over all columns at once (images), `none` is 0
    and 1. A column that is constant in training gets deviation 1. NaN counts as missing.

    Raises:
        ValueError: `standardize` is none of these.
    """
    features = train.shape[1]
    zero, one = torch.zeros(features).double(), torch.ones(features).double()
    if standardize == "none":
        return zero, one
    if standardize == "global":
        mean, std = _moments(train.reshape(-1, 1))
        return mean.expand(features).clone(), std.expand(features).clone()
    if standardize == "feature":
        return _moments(train)
    raise ValueError(miss(standardize, ["feature", "global", "none"], key="data.standardize"))


def _moments(x: Tensor, *, rows: int = 65536) -> tuple[Tensor, Tensor]:
    """Two passes in float64, a block of rows at a time: no double copy of the whole."""
    blocks = torch.split(x, rows)
    missing = torch.stack([b.double().isnan().sum(0) for b in blocks]).sum(0)
    count = (len(x) - missing).clamp(min=1)
    mean = torch.stack([b.double().nansum(0) for b in blocks]).sum(0) / count
    squares = [(b.double() - mean).square().nansum(0) for b in blocks]
    std = (torch.stack(squares).sum(0) / count).sqrt()
    constant = std <= 1e-12 * mean.abs()
    return mean, torch.where(constant, torch.ones_like(std), std)
