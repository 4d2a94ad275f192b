"""Three splits of scaled rows, and what stands behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from models.choices import choose
from models.data.fingerprint import of_split
from models.data.preprocessing import Column, Preprocessing
from models.data.scaling import fit_scaling, fit_statistics
from models.data.split import SplitRows


class Split(NamedTuple):
    """Rows a network takes."""

    x: Tensor
    """Scaled inputs `[n, *shape]`, float32: `[n, features]`, or `[n, channels, height, width]`."""
    y: Tensor
    """Classes `[n]`, int64."""

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self.y)

    def to(self, device: torch.device) -> Split:
        """The same rows on a device."""
        return Split(self.x.to(device), self.y.to(device))

    def parts(self) -> Iterator[Split]:
        """Every row once, in order: itself."""
        yield self


class Stream(Protocol):
    """Rows that are read when they are needed, in the place of a `Split`."""

    @property
    def n_rows(self) -> int:
        """How many rows an epoch has."""
        ...

    def to(self, device: torch.device) -> Stream:
        """The same rows, handed out on a device."""
        ...

    def fingerprint(self, preprocessing: Preprocessing) -> str:
        """What tells these rows from others; it takes no pass over them."""
        ...

    def part(self, rank: int, ranks: int) -> Stream:
        """One of `ranks` disjoint parts of each batch and of the whole, equal up to one row."""
        ...

    def batches(
        self, sizes: Sequence[int], *, seed: int, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of the epoch of this seed, from step `start` on; a part has a part of each.

        `sizes` are the rows of each step over all parts, together at most `n_rows`.
        """
        ...

    def parts(self) -> Iterator[Split]:
        """Every row once, in order, some at a time."""
        ...


def in_memory(split: Split | Stream, *, needed_by: str) -> Split:
    """A split whose rows are all in memory.

    Raises:
        ValueError: It is a stream; the message says that `needed_by` takes none.
    """
    if not isinstance(split, Split):
        raise ValueError(
            f"{needed_by} takes data that fit into memory; choose another than parquet"
        )
    return split


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A classification task."""

    train: Split | Stream
    validation: Split | Stream
    test: Split | Stream
    preprocessing: Preprocessing

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row: `(features,)`, or `(channels, height, width)`."""
        return self.preprocessing.shape

    def split(self, name: str) -> Split | Stream:
        """The split `train`, `validation` or `test`.

        Raises:
            ValueError: There is no such split.
        """
        splits: dict[str, Split | Stream]
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return choose(splits, name, key="split")

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """By split: what tells its rows from others."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: self._fingerprint(split) for name, split in splits.items()}

    def _fingerprint(self, split: Split | Stream) -> str:
        if isinstance(split, Split):
            return of_split(split)
        return split.fingerprint(self.preprocessing)


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
