"""Three splits of scaled rows, and what stands behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from models.choices import choose
from models.data.preprocessing import Column, Preprocessing
from models.data.scaling import fit_scaling, fit_statistics
from models.data.split import SplitRows


class Split(NamedTuple):
    """Rows a network takes."""

    x: Tensor
    """Scaled inputs `[n, *shape]`, float32: `[n, features]`, or `[n, channels, height, width]`."""
    y: Tensor
    """Classes `[n]`, int64."""

    def to(self, device: torch.device) -> Split:
        """The same rows on a device."""
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A classification task."""

    train: Split
    validation: Split
    test: Split
    preprocessing: Preprocessing

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row: `(features,)`, or `(channels, height, width)`."""
        return self.preprocessing.shape

    def split(self, name: str) -> Split:
        """The split `train`, `validation` or `test`.

        Raises:
            ValueError: There is no such split.
        """
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return choose(splits, name, key="split")


class Data(Protocol):
    """A data set that is read when first asked for; reading it again in a process is free."""

    def load(self) -> Dataset:
        """Read, split and scale.

        Raises:
            ValueError: The options do not fit the data.
            FileNotFoundError: A file is missing.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class RawRows:
    """Rows as they were read."""

    x: Tensor
    """`[n, features]`, or `[n, channels, height, width]`, any numeric type."""
    y: Tensor
    """`[n]`, int64, from 0 to the number of classes."""
    columns: tuple[Column, ...]
    classes: tuple[str, ...]


def make_dataset(raw: RawRows, rows: SplitRows, *, scaling: str) -> Dataset:
    """Scale raw rows with the statistics of the training split alone."""
    train = raw.x[rows.train]
    statistics = fit_statistics(train)
    shift, scale = fit_scaling(statistics, scaling)
    preprocessing = Preprocessing(
        columns=raw.columns,
        classes=raw.classes,
        shape=tuple(raw.x.shape[1:]),
        shift=shift,
        scale=scale,
        fill=statistics.mean,
    )

    def prepare(x: Tensor, part: Tensor) -> Split:
        return Split(preprocessing.transform(x), raw.y[part])

    return Dataset(
        train=prepare(train, rows.train),
        validation=prepare(raw.x[rows.validation], rows.validation),
        test=prepare(raw.x[rows.test], rows.test),
        preprocessing=preprocessing,
    )
