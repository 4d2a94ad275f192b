"""Arrays in a NumPy archive."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.choices import choose
from models.data.cache import cached
from models.data.dataset import Dataset, RawRows, make_dataset
from models.data.files import find_file, version
from models.data.layout import LAYOUTS, Layout, arrange
from models.data.preprocessing import Column
from models.data.scaling import Scaling, chosen_scaling
from models.data.split import SplitRows, split_rows

Arrays = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True, kw_only=True)
class Npz:
    """A `.npz` file with `x`, `y`, or with `x_train`, `y_train`, `x_test`, `y_test`.

    Rows `[n, features]` are a table; `[n, height, width]`, with channels first or last too, are
    images. An array `classes` may name the classes; labels are then indices into it. Nothing
    pickled is read.

    Args:
        path: The file.
        validation: Fraction of the rows that are not for the test, or, in a file without a test
            set, of all rows.
        test: Fraction of the rows for the test (0.2 where None); None where the file has a test
            set of its own.
        split_seed: The split is a function of it and of the labels.
        fraction: Share of the training split to keep; see `split_rows`.
        scaling: Of each column, of images of each channel; see `fit_scaling`.
        layout: Axes of x after the first; see `arrange`.
        standardize: What older configs call `scaling`.
    """

    path: str
    validation: float = 0.2
    test: float | None = None
    split_seed: int = 0
    fraction: float = 1.0
    scaling: Scaling = "standardize"
    layout: Layout = "auto"
    standardize: str | None = None

    def __post_init__(self) -> None:
        scaling = chosen_scaling(self.scaling, self.standardize)
        object.__setattr__(self, "scaling", scaling)
        choose(LAYOUTS, self.layout, key="data.layout")

    def load(self) -> Dataset:
        """Read, split and scale.

        Raises:
            FileNotFoundError: `path` is not a file.
            ValueError: The file is not of this layout, or an option does not fit it.
        """
        file = find_file(self.path)
        return cached((self, version(file)), lambda: self._read(file))

    def _read(self, file: Path) -> Dataset:
        arrays = read_arrays(file)
        raw, n_train = raw_rows(file, arrays, layout=self.layout)
        rows = self._split_own_test(raw.y, n_train) if n_train else self._split(raw.y)
        return make_dataset(raw, rows, scaling=self.scaling)

    def _split(self, y: Tensor) -> SplitRows:
        test = 0.2 if self.test is None else self.test
        return split_rows(
            y, validation=self.validation, test=test, seed=self.split_seed, fraction=self.fraction
        )

    def _split_own_test(self, y: Tensor, n_train: int) -> SplitRows:
        if self.test is not None:
            raise ValueError(
                f"data.test is {self.test}, but {self.path} has a test set of its own; "
                "leave data.test null"
            )
        rows = split_rows(
            y[:n_train],
            validation=self.validation,
            test=0.0,
            seed=self.split_seed,
            fraction=self.fraction,
        )
        return rows._replace(test=torch.arange(n_train, len(y)))


def read_arrays(file: Path) -> Arrays:
    """Every array of an archive.

    Raises:
        ValueError: The file is damaged, no archive, or holds pickled objects.
    """
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array, not an .npz archive")
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"data.path: cannot read {file}: {error}") from error


def raw_rows(file: Path, arrays: Arrays, *, layout: str) -> tuple[RawRows, int]:
    """All rows of a file, and how many come before its own test set (0: it has none).

    Raises:
        ValueError: The arrays are not of one of the two layouts.
    """
    if {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
            shapes = f"{arrays['x_train'].shape} and {arrays['x_test'].shape}"
            raise ValueError(f"data.path: {file} has x_train and x_test of shapes {shapes}")
        x = np.concatenate([arrays["x_train"], arrays["x_test"]])
        y = np.concatenate([arrays["y_train"], arrays["y_test"]])
        n_train = len(arrays["y_train"])
    elif {"x", "y"} <= arrays.keys():
        x, y, n_train = arrays["x"], arrays["y"], 0
    else:
        raise ValueError(
            f"data.path: {file} holds {', '.join(sorted(arrays))}; expected x and y, or x_train, "
            "y_train, x_test and y_test"
        )
    if len(x) != len(y) or y.ndim != 1:
        raise ValueError(f"data.path: {file} has x of shape {x.shape} and y of shape {y.shape}")
    labels, classes = _labels(file, y, arrays.get("classes"))
    rows = torch.from_numpy(arrange(x, layout, where=str(file)))
    columns = tuple(Column(name=f"x{i}") for i in range(rows[:1].numel()))
    return RawRows(x=rows, y=labels, columns=columns, classes=classes), n_train


def _labels(
    file: Path, y: np.ndarray[Any, Any], classes: np.ndarray[Any, Any] | None
) -> tuple[Tensor, tuple[str, ...]]:
    """Labels from 0 on, and their names."""
    if y.dtype.kind == "f":
        raise ValueError(f"data.path: {file} has y of type {y.dtype}; expected classes")
    if classes is None:
        values, labels = np.unique(y, return_inverse=True)
        return torch.from_numpy(labels.astype(np.int64)), tuple(map(str, values))
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= len(classes):
        raise ValueError(f"data.path: {file} has labels that are not indices into its classes")
    return torch.from_numpy(y.astype(np.int64)), tuple(map(str, classes))
