"""Input scaling by name: `(x - shift) / scale` with the statistics of the training rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from models.choices import choose
from models.data.statistics import Statistics

Scaling = Literal["standardize", "min_max", "symmetric", "none"]

ROWS = 65536
"""Rows of a block: the statistics take no double copy of the whole."""

_OLDER: Mapping[str, Scaling] = {
    "feature": "standardize",
    "global": "standardize",
    "none": "none",
}


def _standardize(s: Statistics) -> tuple[Tensor, Tensor]:
    return s.mean, _no_zeros(s.std, s.mean)


def _min_max(s: Statistics) -> tuple[Tensor, Tensor]:
    low, high = _range(s)
    return low, _no_zeros(high - low, low)


def _symmetric(s: Statistics) -> tuple[Tensor, Tensor]:
    low, high = _range(s)
    middle = (low + high) / 2
    return middle, _no_zeros((high - low) / 2, middle)


def _none(s: Statistics) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(s.mean), torch.ones_like(s.mean)


SCALINGS: Mapping[str, Callable[[Statistics], tuple[Tensor, Tensor]]] = {
    "standardize": _standardize,
    "min_max": _min_max,
    "symmetric": _symmetric,
    "none": _none,
}


def fit_scaling(statistics: Statistics, name: str) -> tuple[Tensor, Tensor]:
    """Shift and scale of each column, float64.

    `standardize` gives mean 0 and deviation 1, `min_max` the range [0, 1], `symmetric` [-1, 1] and
    `none` leaves the values. Other rows than those of training may lie outside of the range. The
    scale of a column that is constant in training is 1.

    Raises:
        ValueError: There is no scaling of this name.
    """
    return choose(SCALINGS, name, key="data.scaling")(statistics)


def fit_statistics(train: Tensor) -> Statistics:
    """Statistics of raw training rows: of each column `[n, columns]`, of each channel of images.

    Those of images `[n, channels, height, width]` have the shape `[channels, 1, 1]`.
    """
    if train.ndim == 2:
        return Statistics.pooled(torch.split(train, ROWS))
    channels = train.shape[1]
    rows = max(1, ROWS // train[0, 0].numel())
    blocks = (b.movedim(1, -1).reshape(-1, channels) for b in torch.split(train, rows))
    pooled = Statistics.pooled(blocks)
    by_channel = {name: value.view(channels, 1, 1) for name, value in vars(pooled).items()}
    return Statistics(**by_channel)


def chosen_scaling(name: str, older: str | None) -> str:
    """The name of a scaling, perhaps given as configs of before said it (`data.standardize`).

    Raises:
        ValueError: There is no scaling of this name.
    """
    if older is not None:
        return choose(_OLDER, older, key="data.standardize")
    choose(SCALINGS, name, key="data.scaling")
    return name


def _range(s: Statistics) -> tuple[Tensor, Tensor]:
    seen = s.count > 0
    return s.low.where(seen, s.mean), s.high.where(seen, s.mean)


def _no_zeros(scale: Tensor, value: Tensor) -> Tensor:
    return scale.where(scale > 1e-12 * value.abs(), torch.ones_like(scale))
