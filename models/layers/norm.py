"""Normalisation layers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from models.choices import choose
from models.layers.ghost_batch_norm import GhostBatchNorm
from models.layers.instance_norm import InstanceNorm2d
from models.layers.sync_batch_norm import SyncBatchNorm


@dataclass(frozen=True, kw_only=True)
class NormShape:
    """What a norm is built for."""

    features: int
    dims: Literal[0, 2]
    groups: int | None
    ghost_batch_size: int


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A kind of normalisation."""

    build: Callable[[NormShape], nn.Module]
    has_shift: bool
    """Whether the layer takes out each feature's own mean and adds its own shift: a bias under it
    does nothing. Layer and group norm take out the mean of many features, and a bias stays."""


def _batch(shape: NormShape) -> nn.Module:
    return (nn.BatchNorm2d if shape.dims else nn.BatchNorm1d)(shape.features)


def _sync_batch(shape: NormShape) -> nn.Module:
    return SyncBatchNorm(shape.features)


def _ghost_batch(shape: NormShape) -> nn.Module:
    return GhostBatchNorm(shape.features, ghost_batch_size=shape.ghost_batch_size)


def _layer(shape: NormShape) -> nn.Module:
    return nn.GroupNorm(1, shape.features) if shape.dims else nn.LayerNorm(shape.features)


def _instance(shape: NormShape) -> nn.Module:
    if not shape.dims:
        raise ValueError(
            "model.norm is 'instance'; it needs images [n, features, h, w]; for rows [n, features] "
            "did you mean 'layer'?"
        )
    return InstanceNorm2d(shape.features, affine=True)


def _group(shape: NormShape) -> nn.Module:
    features, groups = shape.features, shape.groups
    largest = features if shape.dims else max(1, features // 2)  # one value has no spread
    fitting = [g for g in range(1, largest + 1) if features % g == 0]
    if groups is None:
        groups = max(g for g in fitting if g == 1 or (g <= 32 and features // g >= 16))
    if groups not in fitting:
        raise ValueError(
            f"model.groups is {groups}; it must divide the {features} features: choose from "
            f"{', '.join(map(str, fitting))}"
        )
    return nn.GroupNorm(groups, features)


def _none(shape: NormShape) -> nn.Module:
    return nn.Identity()


NORMS: Mapping[str, Norm] = {
    "batch": Norm(build=_batch, has_shift=True),
    "sync_batch": Norm(build=_sync_batch, has_shift=True),
    "ghost_batch": Norm(build=_ghost_batch, has_shift=True),
    "layer": Norm(build=_layer, has_shift=False),
    "instance": Norm(build=_instance, has_shift=True),
    "group": Norm(build=_group, has_shift=False),
    "weight": Norm(build=_none, has_shift=False),
    "none": Norm(build=_none, has_shift=False),
}


def make_norm(
    name: str,
    features: int,
    *,
    dims: Literal[0, 2] = 0,
    groups: int | None = None,
    ghost_batch_size: int = 32,
) -> nn.Module:
    """A normalisation layer over `[n, features]` (`dims` 0) or `[n, features, h, w]` (2).

    - `batch`: each feature over the batch (Ioffe and Szegedy 2015, arXiv:1502.03167);
    - `sync_batch`: the same over the batches of all ranks, `models.layers.sync_batch_norm`;
    - `ghost_batch`: the same over parts of the batch, `models.layers.ghost_batch_norm`;
    - `layer`: each row over all its features (Ba et al. 2016, arXiv:1607.06450), and over all
      positions;
    - `instance`: each feature of each row over its positions (Ulyanov et al. 2016,
      arXiv:1607.08022); images only;
    - `group`: each row over groups of features (Wu and He 2018, arXiv:1803.08494);
    - `weight`: the identity; the linear or conv layer below is built with `weight_norm=True`;
    - `none`: the identity.

    Args:
        name: One of these.
        features: Size of axis 1.
        dims: Number of axes behind it.
        groups: Groups of `group`; they must divide the features. None takes as many as leave each
            16 features or more (section 4.1 of the paper), 32 at most.
        ghost_batch_size: Rows of a ghost batch.

    Raises:
        ValueError: There is no norm of this name, or it cannot be over such a shape.
    """
    norm = choose(NORMS, name, key="model.norm")
    shape = NormShape(
        features=features, dims=dims, groups=groups, ghost_batch_size=ghost_batch_size
    )
    return norm.build(shape)


def norm_has_shift(name: str) -> bool:
    """Whether a linear or conv layer right under this norm needs no bias."""
    return choose(NORMS, name, key="model.norm").has_shift


def uses_weight_norm(name: str) -> bool:
    """Whether this norm is one of the weights: build layers with `weight_norm=True`."""
    choose(NORMS, name, key="model.norm")
    return name == "weight"
