"""Scikit-learn's digits: 1,797 images of 8 x 8 pixels, ten classes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from models.data.cache import cached
from models.data.dataset import Dataset, RawRows, make_dataset
from models.data.preprocessing import Column
from models.data.scaling import Scaling, chosen_scaling
from models.data.split import split_rows


@dataclass(frozen=True, kw_only=True)
class Digits:
    """The digits that scikit-learn's `load_digits` gives, `[n, 1, 8, 8]`, split stratified.

    Needs no network: the file comes with scikit-learn. UCI Optical Recognition of Handwritten
    Digits, the 1,797 images of its test set.
    """

    validation: float = 0.2
    test: float = 0.2
    split_seed: int = 0
    fraction: float = 1.0
    scaling: Scaling = "standardize"
    standardize: str | None = None  # what older configs call `scaling`

    def __post_init__(self) -> None:
        scaling = chosen_scaling(self.scaling, self.standardize)
        object.__setattr__(self, "scaling", scaling)

    def load(self) -> Dataset:
        """Read, split and scale.

        Raises:
            ModuleNotFoundError: scikit-learn is not installed.
            ValueError: An option is out of its range.
        """
        return cached(self, self._read)

    def _read(self) -> Dataset:
        table = np.loadtxt(digits_file(), delimiter=",", dtype=np.uint8)
        raw = RawRows(
            x=torch.from_numpy(table[:, :-1].copy()).view(-1, 1, 8, 8),
            y=torch.from_numpy(table[:, -1].astype(np.int64)),
            columns=tuple(Column(name=f"pixel_{i // 8}_{i % 8}") for i in range(64)),
            classes=tuple(map(str, range(10))),
        )
        rows = split_rows(
            raw.y,
            validation=self.validation,
            test=self.test,
            seed=self.split_seed,
            fraction=self.fraction,
        )
        return make_dataset(raw, rows, scaling=self.scaling)


def digits_file() -> Path:
    """The file behind `load_digits`.

    It is read without importing scikit-learn, which takes 1.6 s in each fresh worker.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("data=digits needs scikit-learn: pip install 'caviar[train]'")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
