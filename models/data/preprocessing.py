"""From raw rows to what a network takes; travels with checkpoints and exports."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from models.choices import miss

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Encoding = Literal["number", "onehot", "integer"]

_TENSORS = ("shift", "scale", "fill")


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
    """Scaling, encodings and the shape of a row, all learned from the training split.

    A missing number becomes the training mean. A category that training had not seen becomes all
    zeros (`onehot`) or a missing number (`integer`).
    """

    columns: tuple[Column, ...]
    classes: tuple[str, ...]
    """Names of the classes, in the order of the logits."""
    shape: tuple[int, ...]
    """Of a row: `(features,)`, or `(channels, height, width)` of an image."""
    shift: Tensor
    """`[features]`, of images `[channels, 1, 1]`; float64."""
    scale: Tensor
    """Likewise, none of them zero: the network takes `(x - shift) / scale`."""
    fill: Tensor
    """Likewise: what stands in for a missing number, before scaling."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the network's inputs."""
        return tuple(name for column in self.columns for name in column.features)

    def transform(self, rows: Tensor | np.ndarray[Any, Any] | Sequence[Any]) -> Tensor:
        """Scale raw numeric rows; the result `[n, *shape]` is float32.

        Rows are `[n, features]` or `[n, *shape]`; images may also have their channels last, or no
        axis for a single channel. Doubles are scaled as doubles, so that large offsets such as
        times keep their digits.

        Raises:
            ValueError: The shape is wrong, or a value is infinite.
        """
        x = self._shaped(torch.as_tensor(rows))
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        x = x.to(dtype, copy=True, memory_format=torch.contiguous_format)
        if bool((infinite := x.isinf()).any()):
            feature = int(infinite.flatten(1).any(dim=0).nonzero()[0])
            raise ValueError(f"rows hold an infinite value in {self.features[feature]!r}")
        if bool((missing := x.isnan()).any()):
            x = torch.where(missing, self.fill.to(x.dtype), x)
        return x.sub_(self.shift.to(x.dtype)).div_(self.scale.to(x.dtype)).float()

    def _shaped(self, x: Tensor) -> Tensor:
        """Rows of any of the accepted shapes as `[n, *shape]`."""
        features, given = math.prod(self.shape), tuple(x.shape[1:])
        if x.ndim > 1 and given in (self.shape, (features,)):
            return x.reshape(-1, *self.shape)
        if len(self.shape) == 3:
            channels, *size = self.shape
            if given == (*size, channels):
                return x.movedim(-1, 1)
            if channels == 1 and given == tuple(size):
                return x.unsqueeze(1)
        images = f" or [n, {', '.join(map(str, self.shape))}]" if len(self.shape) > 1 else ""
        raise ValueError(
            f"rows have shape {tuple(x.shape)}; expected [n, {features}]{images} "
            f"({', '.join(self.features[:3])}, ...)"
        )

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
        return (self.columns, self.classes, self.shape) == (
            other.columns,
            other.classes,
            other.shape,
        ) and all(torch.equal(getattr(self, name), getattr(other, name)) for name in _TENSORS)

    def to_dict(self) -> dict[str, Any]:
        """As plain containers and three tensors, for a checkpoint."""
        columns = [
            {"name": c.name, "encoding": c.encoding, "categories": list(c.categories)}
            for c in self.columns
        ]
        tensors = {name: getattr(self, name) for name in _TENSORS}
        return {
            "columns": columns,
            "classes": list(self.classes),
            "shape": list(self.shape),
            **tensors,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`; the statistics may be lists.

        Raises:
            ValueError: The values are not a preprocessing's.
        """
        try:
            values = _with_shape(values)
            columns = tuple(
                Column(name=c["name"], encoding=c["encoding"], categories=tuple(c["categories"]))
                for c in values["columns"]
            )
            return cls(
                columns=columns,
                classes=tuple(values["classes"]),
                shape=tuple(values["shape"]),
                **{name: torch.as_tensor(values[name], dtype=torch.float64) for name in _TENSORS},
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a preprocessing: {error!r}") from error

    def to_json(self) -> str:
        """As strict JSON."""
        values = self.to_dict() | {name: getattr(self, name).tolist() for name in _TENSORS}
        return json.dumps(values, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """The inverse of `to_json`.

        Raises:
            ValueError: The text is not JSON, or not a preprocessing's.
        """
        return cls.from_dict(json.loads(text))


def _with_shape(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was stored before images had a shape: flat rows, always standardised."""
    if "mean" not in values:
        return values
    mean, std = values["mean"], values["std"]
    return {**values, "shape": [len(mean)], "shift": mean, "scale": std, "fill": mean}
