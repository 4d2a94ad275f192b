"""Three splits of standardised rows, and what stands behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from models.choices import choose
from models.data.preprocessing import Column, Preprocessing, Standardize, fit_statistics
from models.data.split import SplitRows


class Split(NamedTuple):
    """Rows a network takes."""

    x: Tensor
    """Standardised features `[n, features]`, float32."""
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
        """Read, split and standardise.

        Raises:
            ValueError: The options do not fit the data.
            FileNotFoundError: A file is missing.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class RawRows:
    """Rows as they were read."""

    x: Tensor
    """`[n, features]`, any numeric type."""
    y: Tensor
    """`[n]`, int64, from 0 to the number of classes."""
    columns: tuple[Column, ...]
    classes: tuple[str, ...]


def make_dataset(raw: RawRows, rows: SplitRows, *, standardize: Standardize) -> Dataset:
    """Standardise raw rows with the statistics of the training split alone."""
    train = raw.x[rows.train]
    mean, std = fit_statistics(train, standardize)
    preprocessing = Preprocessing(columns=raw.columns, classes=raw.classes, mean=mean, std=std)

    def prepare(x: Tensor, part: Tensor) -> Split:
        return Split(preprocessing.transform(x), raw.y[part])

    return Dataset(
        train=prepare(train, rows.train),
        validation=prepare(raw.x[rows.validation], rows.validation),
        test=prepare(raw.x[rows.test], rows.test),
        preprocessing=preprocessing,
    )
