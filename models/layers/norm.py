"""Normalisation layers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from models.choices import choose


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A kind of normalisation."""

    build: Callable[[int], nn.Module]
    """Number of features -> layer."""
    has_shift: bool
    """Whether the layer takes out the mean and adds its own shift: a bias under it does nothing."""


NORMS: Mapping[str, Norm] = {
    "batch": Norm(build=nn.BatchNorm1d, has_shift=True),
    "none": Norm(build=lambda features: nn.Identity(), has_shift=False),
}


def make_norm(name: str, features: int) -> nn.Module:
    """A normalisation layer over the last axis of `[n, features]`.

    `batch` is batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167).

    Raises:
        ValueError: There is no norm of this name.
    """
    return choose(NORMS, name, key="model.norm").build(features)


def norm_has_shift(name: str) -> bool:
    """Whether a linear layer right under this norm needs no bias."""
    return choose(NORMS, name, key="model.norm").has_shift
